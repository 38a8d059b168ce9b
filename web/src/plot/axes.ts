// Axes as all plots have them: times below, figures at the left.

import type uPlot from 'uplot';
import { formatClock, formatDay, type Zone } from '../text/times';
import { resolved } from './colours';

const FONT = '11px system-ui, sans-serif';

/** A tick of the time axis: as fine as the distance of the ticks asks for. */
function tick(seconds: number, step: number, zone: Zone): string {
  const millis = seconds * 1000;
  if (step >= 86400) return formatDay(millis, zone).slice(5);
  const clock = formatClock(millis, zone);
  if (clock === '00:00:00') return formatDay(millis, zone).slice(5);
  return step < 60 ? clock : clock.slice(0, 5);
}

export function timeAxis(zone: Zone): uPlot.Axis {
  const line = resolved('line');
  return {
    stroke: resolved('quiet'),
    font: FONT,
    size: 24,
    gap: 4,
    space: 72,
    grid: { show: false },
    ticks: { stroke: line, width: 1, size: 4 },
    values: (_plot, splits, _axis, _space, step) => splits.map((split) => tick(split, step, zone)),
  };
}

export function figureAxis(write: (value: number) => string, size = 44): uPlot.Axis {
  return {
    stroke: resolved('quiet'),
    font: FONT,
    size,
    gap: 4,
    space: 28,
    grid: { stroke: resolved('line'), width: 1 },
    ticks: { show: false },
    values: (_plot, splits) => splits.map((split) => (split === null ? '' : write(split))),
  };
}

/** Slanted lines: "we lost packets here", told apart from colours of data by shape. */
export function hatch(context: CanvasRenderingContext2D, colour: string): CanvasPattern | string {
  const size = Math.round(6 * devicePixelRatio);
  const tile = document.createElement('canvas');
  tile.width = tile.height = size;
  const brush = tile.getContext('2d')!;
  brush.strokeStyle = colour;
  brush.lineWidth = Math.max(1, devicePixelRatio);
  brush.beginPath();
  for (const shift of [-size, 0, size]) {
    brush.moveTo(shift, size);
    brush.lineTo(shift + size, 0);
  }
  brush.stroke();
  return context.createPattern(tile, 'repeat') ?? colour;
}

/** Fills spans of the x axis over the whole height. */
export function fillSpans(plot: uPlot, spans: [number, number][], fill: CanvasPattern | string): void {
  const { left, top, width, height } = plot.bbox;
  plot.ctx.save();
  plot.ctx.beginPath();
  plot.ctx.rect(left, top, width, height);
  plot.ctx.clip();
  plot.ctx.fillStyle = fill;
  for (const [from, to] of spans) {
    const x = plot.valToPos(from, 'x', true);
    plot.ctx.fillRect(x, top, Math.max(2, plot.valToPos(to, 'x', true) - x), height);
  }
  plot.ctx.restore();
}
