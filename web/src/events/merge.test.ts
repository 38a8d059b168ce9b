import { expect, it } from 'vitest';
import type { EventDocument } from '../event/document';
import { merged } from './merge';

const event = (id: string, second: number): EventDocument => ({ id, '@timestamp': `2026-11-23T15:46:${String(second).padStart(2, '0')}Z`, type: 'dns' });
const ids = (events: EventDocument[]) => events.map((one) => one.id).join('');

it('fresh events come where their time puts them, each once', () => {
  const list = [event('d', 40), event('b', 20)];
  expect(ids(merged(list, [event('a', 10), event('e', 50), event('c', 30), event('b', 20), event('e', 50)]))).toBe('edcba');
  expect(merged(list, [event('d', 40)])).toBe(list);
});
