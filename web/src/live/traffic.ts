// The histories of several sources as one.

import type { SourceRow } from '../api/types';

export interface Traffic {
  /** Seconds since 1970, oldest first. */
  times: number[];
  packets: number[];
  bytes: number[];
  dropped: number;
  /** Spans, in seconds, in which packets were dropped. */
  dropSpans: [number, number][];
}

/** Adds up histories that end at the same time. A shorter one began later. */
export function trafficOf(sources: SourceRow[]): Traffic {
  const longest = Math.max(0, ...sources.map((source) => source.history.packets.length));
  const step = sources[0]?.history.seconds ?? 1;
  const end = Date.parse(sources[0]?.history.until ?? '') / 1000;
  const times = Array.from({ length: longest }, (_, at) => end - (longest - at) * step);
  const summed = (of: (source: SourceRow) => number[]) =>
    times.map((_, at) => sources.reduce((sum, source) => sum + (of(source)[at - longest + of(source).length] ?? 0), 0));
  const drops = summed((source) => source.history.dropped);
  const dropSpans: [number, number][] = [];
  drops.forEach((count, at) => count > 0 && dropSpans.push([times[at]! - step / 2, times[at]! + step / 2]));
  return { times, packets: summed((source) => source.history.packets), bytes: summed((source) => source.history.bytes), dropped: drops.reduce((sum, count) => sum + count, 0), dropSpans };
}
