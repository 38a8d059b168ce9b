// A histogram as uPlot wants it: one line over the other, so that the last drawn lies in front.

import type { Histogram } from '../api/types';

export interface Stack {
  /** Seconds since 1970. */
  times: number[];
  /** In the order they are drawn: the sum of all first. */
  layers: { name: string; heights: number[] }[];
  /** Spans, in seconds, in which packets are known to be lost. */
  lossSpans: [number, number][];
}

export function stackOf(histogram: Histogram): Stack {
  const times = histogram.times.map((time) => Date.parse(time) / 1000);
  const heights = times.map(() => 0);
  const layers = histogram.series.map(({ name, counts }) => {
    counts.forEach((count, at) => (heights[at] = (heights[at] ?? 0) + count));
    return { name, heights: [...heights] };
  });
  const lossSpans: [number, number][] = [];
  histogram.capture_loss.forEach((lost, at) => {
    if (lost <= 0) return;
    const from = times[at]!;
    const before = lossSpans.at(-1);
    if (before && before[1] === from) before[1] = from + histogram.bucket_seconds;
    else lossSpans.push([from, from + histogram.bucket_seconds]);
  });
  return { times, layers: layers.reverse(), lossSpans };
}
