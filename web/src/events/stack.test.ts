import { expect, it } from 'vitest';
import { stackOf } from './stack';

it('a histogram becomes layers, the sum of all first', () => {
  const stack = stackOf({
    since: '',
    until: '',
    bucket_seconds: 10,
    times: ['1970-01-01T00:00:00Z', '1970-01-01T00:00:10Z', '1970-01-01T00:00:20Z', '1970-01-01T00:00:30Z'],
    series: [
      { name: 'dns', counts: [1, 0, 2, 0] },
      { name: 'http', counts: [3, 0, 0, 1] },
    ],
    capture_loss: [0, 4, 1, 0],
    total: 7,
    complete: true,
    searched_from: '',
  });
  expect(stack.times).toEqual([0, 10, 20, 30]);
  expect(stack.layers).toEqual([
    { name: 'http', heights: [4, 0, 2, 1] },
    { name: 'dns', heights: [1, 0, 2, 0] },
  ]);
  expect(stack.lossSpans).toEqual([[10, 30]]);
});
