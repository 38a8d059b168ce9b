// Streams under the calls they belong to.

import type { Call, Stream } from '../api/types';

export interface Conversation {
  /** None for streams whose signalling was not seen. */
  call: Call | null;
  streams: Stream[];
}

/** Calls as they come, each with its streams; streams without a call at the end. */
export function conversationsOf(calls: Call[], streams: Stream[]): Conversation[] {
  const left = new Set(streams);
  const groups: Conversation[] = calls.map((call) => {
    const own = streams.filter((stream) => left.has(stream) && (call.streams.includes(stream.key) || stream.call_id === call.call_id));
    for (const stream of own) left.delete(stream);
    return { call, streams: own };
  });
  return left.size > 0 ? [...groups, { call: null, streams: [...left] }] : groups;
}
