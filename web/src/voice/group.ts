// Streams under the calls they belong to.

import type { Call, Stream } from '../api/types';

export interface Conversation {
  /** None while the call is not over, and for streams whose signalling was not seen. */
  call: Call | null;
  /** Of the call, if it is known. */
  callId: string;
  streams: Stream[];
}

/** Calls that are not over, then those that are, as they come, each with its streams; streams without a call at the end. */
export function conversationsOf(calls: Call[], streams: Stream[]): Conversation[] {
  const left = new Set(streams);
  const over: Conversation[] = calls.map((call) => {
    const own = streams.filter((stream) => left.has(stream) && (call.streams.includes(stream.key) || stream.call_id === call.call_id));
    for (const stream of own) left.delete(stream);
    return { call, callId: call.call_id, streams: own };
  });
  const open = new Map<string, Stream[]>();
  for (const stream of left) open.set(stream.call_id ?? '', [...(open.get(stream.call_id ?? '') ?? []), stream]);
  const others = [...open].map(([callId, own]): Conversation => ({ call: null, callId, streams: own }));
  return [...others.filter((one) => one.callId !== ''), ...over, ...others.filter((one) => one.callId === '')];
}
