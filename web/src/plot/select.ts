// Drag over a plot to select a time, with a mouse or a finger.

import type uPlot from 'uplot';

/** Movements below this are a click. */
const LEAST_PIXELS = 5;

export interface Band {
  left: number;
  width: number;
}

/** Reports the band while it is drawn, and the chosen seconds at the end. Returns how to stop. */
export function selectTime(plot: uPlot, show: (band: Band | null) => void, chosen: (from: number, to: number) => void): () => void {
  const { over } = plot;
  let start: number | null = null;

  const at = (event: PointerEvent) => {
    const box = over.getBoundingClientRect();
    return Math.min(Math.max(event.clientX - box.left, 0), box.width);
  };
  const down = (event: PointerEvent) => {
    if (event.button !== 0) return;
    start = at(event);
    over.setPointerCapture(event.pointerId);
  };
  const move = (event: PointerEvent) => {
    if (start === null) return;
    const [left, right] = [Math.min(start, at(event)), Math.max(start, at(event))];
    show({ left: left + over.offsetLeft, width: right - left });
  };
  const up = (event: PointerEvent) => {
    if (start === null) return;
    const [left, right] = [Math.min(start, at(event)), Math.max(start, at(event))];
    cancel();
    if (right - left >= LEAST_PIXELS) chosen(plot.posToVal(left, 'x'), plot.posToVal(right, 'x'));
  };
  const cancel = () => {
    start = null;
    show(null);
  };

  over.style.touchAction = 'pan-y';
  over.addEventListener('pointerdown', down);
  over.addEventListener('pointermove', move);
  over.addEventListener('pointerup', up);
  over.addEventListener('pointercancel', cancel);
  return () => {
    over.removeEventListener('pointerdown', down);
    over.removeEventListener('pointermove', move);
    over.removeEventListener('pointerup', up);
    over.removeEventListener('pointercancel', cancel);
  };
}
