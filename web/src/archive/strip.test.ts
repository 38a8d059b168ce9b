import { expect, it } from 'vitest';
import type { Archive } from '../api/types';
import { extentOf, stepOf, stripOf } from './strip';

const days = (...entries: [number, number][]) => entries.map(([hour, bytes]) => ({ from: new Date(hour * 3600_000).toISOString(), bytes }));
const archive = {
  sources: [
    { name: 'a', days: days([1, 10], [2, 0], [4, 20]) },
    { name: 'b', days: days([3, 5]) },
  ],
} as unknown as Archive;

it('strips lie over the same time, and holes are seen', () => {
  const step = stepOf(archive);
  expect(step).toBe(3600);
  const extent = extentOf(archive, step)!;
  expect(extent).toEqual([3600, 5 * 3600]);
  expect(stripOf(archive.sources[0]!, step, extent)).toEqual({ times: [3600, 7200, 10800, 14400], bytes: [10, 0, 0, 20], gaps: [[7200, 14400]] });
  expect(stripOf(archive.sources[1]!, step, extent).gaps).toEqual([]);
  expect(extentOf({ ...archive, sources: [] }, step)).toBeNull();
});
