// What is stored of a source over time, without holes in the row of entries.

import type { Archive, ArchiveSource } from '../api/types';

export interface Strip {
  /** Seconds since 1970. */
  times: number[];
  bytes: number[];
  /** Spans in which nothing is stored, between the first and the last that is. */
  gaps: [number, number][];
}

/** Seconds per entry: said, or the least distance of two entries. */
export function stepOf(archive: Archive): number {
  if (archive.step) return archive.step;
  const distances = archive.sources.flatMap(({ days }) => days.slice(1).map((day, at) => (Date.parse(day.from) - Date.parse(days[at]!.from)) / 1000));
  return Math.min(86400, ...distances.filter((distance) => distance > 0));
}

/** First and last moment of all sources, so that their strips lie below one another. */
export function extentOf(archive: Archive, step: number): [number, number] | null {
  const starts = archive.sources.flatMap(({ days }) => days.filter((day) => day.bytes > 0).map((day) => Date.parse(day.from) / 1000));
  return starts.length === 0 ? null : [Math.min(...starts), Math.max(...starts) + step];
}

export function stripOf(source: ArchiveSource, step: number, extent: [number, number]): Strip {
  const stored = new Map(source.days.map((day) => [Date.parse(day.from) / 1000, day.bytes]));
  const length = Math.round((extent[1] - extent[0]) / step);
  const times = Array.from({ length }, (_, at) => extent[0] + at * step);
  const bytes = times.map((time) => stored.get(time) ?? 0);
  const gaps: [number, number][] = [];
  const last = bytes.findLastIndex((count) => count > 0);
  for (let at = bytes.findIndex((count) => count > 0); at >= 0 && at <= last; at += 1) {
    if (bytes[at]! > 0) continue;
    const before = gaps.at(-1);
    if (before && before[1] === times[at]) before[1] = times[at]! + step;
    else gaps.push([times[at]!, times[at]! + step]);
  }
  return { times, bytes, gaps };
}
