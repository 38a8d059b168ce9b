// Events put together newest first, each once.

import { compareTimes } from '../text/times';
import type { EventDocument } from '../event/document';

/** Merges fresh events into a list that is newest first. What is there already is left out. */
export function merged(list: EventDocument[], fresh: EventDocument[]): EventDocument[] {
  const known = new Set(list.map((event) => event.id));
  const added = fresh.filter((event) => !known.has(event.id) && known.add(event.id));
  if (added.length === 0) return list;
  added.sort((a, b) => compareTimes(b['@timestamp'], a['@timestamp']));
  const result: EventDocument[] = [];
  let at = 0;
  for (const event of added) {
    while (at < list.length && compareTimes(list[at]!['@timestamp'], event['@timestamp']) > 0) result.push(list[at++]!);
    result.push(event);
  }
  return result.concat(list.slice(at));
}
