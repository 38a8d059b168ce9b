// The chain from the wire to the outputs: what each place has, and what was lost on the way to the next.

import type { Chain } from '../api/types';

export interface Loss {
  what: string;
  count: number;
}

/** Drops of the account, by the step on which they happen: `probe/spool_full` between probe and collector, and so on. */
export function lossesOf(chain: Chain): { atCapture: Loss[]; onUplink: Loss[]; inCollector: Loss[] } {
  const onUplink: Loss[] = [];
  const inCollector: Loss[] = [];
  for (const [place, count] of Object.entries(chain.dropped)) {
    const [where = '', why = ''] = place.split('/');
    const loss = { what: `dropped: ${(why || where).replaceAll('_', ' ')}`, count };
    (where === 'collector' || where === 'archive' ? inCollector : onUplink).push(loss);
  }
  if (onUplink.length === 0) onUplink.push({ what: 'dropped', count: 0 });
  if (inCollector.length === 0) inCollector.push({ what: 'dropped', count: 0 });
  return { atCapture: [{ what: 'dropped by the kernel', count: chain.kernel_dropped }], onUplink, inCollector };
}

/** All drops of the account together. */
export function droppedOf(chain: Chain): number {
  return Object.values(chain.dropped).reduce((sum, count) => sum + count, 0);
}
