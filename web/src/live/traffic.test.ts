import { expect, it } from 'vitest';
import type { SourceRow } from '../api/types';
import { trafficOf } from './traffic';

const source = (packets: number[], dropped: number[]) =>
  ({ history: { seconds: 1, until: '1970-01-01T00:00:10Z', packets, bytes: packets.map((one) => one * 100), dropped } }) as unknown as SourceRow;

it('histories are added up from their ends', () => {
  const traffic = trafficOf([source([1, 2, 3], [0, 0, 1]), source([10, 20], [0, 0])]);
  expect(traffic).toEqual({ times: [7, 8, 9], packets: [1, 12, 23], bytes: [100, 1200, 2300], dropped: 1, dropSpans: [[8.5, 9.5]] });
  expect(trafficOf([]).times).toEqual([]);
});
