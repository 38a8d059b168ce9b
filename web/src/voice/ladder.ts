// The messages of a call between those who sent them, in order of time.

import { endpoint, textAt, type EventDocument } from '../event/document';
import { compareTimes } from '../text/times';

export interface Rung {
  event: EventDocument;
  /** Places of sender and receiver among the parties. */
  from: number;
  to: number;
  title: string;
  isResponse: boolean;
}

export interface Ladder {
  parties: string[];
  rungs: Rung[];
}

export function ladderOf(events: EventDocument[]): Ladder {
  const parties: string[] = [];
  const place = (name: string) => {
    if (!parties.includes(name)) parties.push(name);
    return parties.indexOf(name);
  };
  const rungs = [...events]
    .sort((a, b) => compareTimes(a['@timestamp'], b['@timestamp']))
    .map((event) => {
      const code = textAt(event, 'sip.code');
      return {
        event,
        from: place(endpoint(event, 'source', 'client') || '?'),
        to: place(endpoint(event, 'destination', 'server') || '?'),
        title: code ? `${code} ${textAt(event, 'sip.status')}` : textAt(event, 'sip.method') || event.type,
        isResponse: code !== '',
      };
    });
  return { parties, rungs };
}
