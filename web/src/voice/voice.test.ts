import { expect, it } from 'vitest';
import type { Call, Stream } from '../api/types';
import type { EventDocument } from '../event/document';
import { conversationsOf } from './group';
import { ladderOf } from './ladder';

it('streams stand under their call, open calls first, the others at the end', () => {
  const call = { id: '1', call_id: 'a@x', streams: ['k1'] } as Call;
  const stream = (key: string, call_id: string | null) => ({ key, call_id }) as Stream;
  const groups = conversationsOf([call], [stream('k1', null), stream('k2', 'a@x'), stream('k3', null), stream('k4', 'b@x')]);
  expect(groups.map((group) => [group.call?.id ?? '', group.callId, group.streams.map((one) => one.key)])).toEqual([
    ['', 'b@x', ['k4']],
    ['1', 'a@x', ['k1', 'k2']],
    ['', '', ['k3']],
  ]);
});

it('a ladder is in order of time, with parties as they appear', () => {
  const message = (second: number, from: string, to: string, sip: object): EventDocument =>
    ({ id: String(second), '@timestamp': `2026-11-23T15:46:0${second}Z`, type: 'sip', source: { ip: from, port: 5060 }, destination: { ip: to, port: 5060 }, sip }) as EventDocument;
  const ladder = ladderOf([message(2, 'b', 'a', { code: 180, status: 'Ringing' }), message(1, 'a', 'b', { method: 'INVITE' })]);
  expect(ladder.parties).toEqual(['a:5060', 'b:5060']);
  expect(ladder.rungs.map(({ from, to, title }) => [from, to, title])).toEqual([
    [0, 1, 'INVITE'],
    [1, 0, '180 Ringing'],
  ]);
});
