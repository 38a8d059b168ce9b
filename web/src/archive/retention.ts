// What retention keeps and what it removes next, in words.

import type { Archive, Retention } from '../api/types';
import { formatBytes } from '../text/figures';
import { visibleLine } from '../text/visible';

const amount = (value: number | string) => (typeof value === 'number' ? formatBytes(value) : value);

export function retentionOf(retention: Retention): string {
  const kept: string[] = [];
  if (retention.age) kept.push(`for ${retention.age}`);
  if (retention.size) kept.push(`up to ${amount(retention.size)}`);
  if (retention.free) kept.push(`while ${amount(retention.free)} of the disk stay free`);
  return kept.length === 0 ? 'Kept until somebody removes it: no retention is set' : `Kept ${kept.join(', ')}`;
}

export function removalOf(next: NonNullable<Archive['next_removed']>, time: (text: string | null | undefined) => string): string {
  const from = next.oldest ?? next.newest;
  return [next.source ? visibleLine(next.source) : '', next.bytes === undefined ? '' : formatBytes(next.bytes), from ? `of ${time(from)}` : '', next.reason ? `because of its ${next.reason}` : '']
    .filter(Boolean)
    .join(', ');
}
