import { expect, it } from 'vitest';
import { readAddress, START, writeAddress } from './address';

it('an empty address is the start', () => {
  expect(readAddress('')).toEqual(START);
  expect(writeAddress(START)).toBe('#/live');
});

it('a state comes back as it was', () => {
  const address = {
    ...START,
    view: 'events' as const,
    since: '2026-11-23T15:46:02.5Z',
    until: '2026-11-23T15:47:00Z',
    q: 'status:"Client Error" a&b=c #?%',
    stackedBy: 'status' as const,
    live: false,
    open: 'eebca1',
    openTime: '2026-11-23T15:46:03Z',
  };
  expect(readAddress(writeAddress(address))).toEqual(address);
});

it('what is not known is left out', () => {
  expect(readAddress('#/nowhere?by=colour&x=1&since=')).toEqual(START);
});
