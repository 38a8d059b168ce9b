import { expect, it } from 'vitest';
import { droppedOf, lossesOf } from './chain';

const chain = {
  captured: 100,
  kernel_dropped: 3,
  dropped: { 'probe/spool_full': 4, 'collector/bad_batch': 2 },
  in_flight: 0,
  archived: 94,
  not_stored: 0,
  published: 94,
  decoded_packets: 94,
  decode_missing: 0,
  events: 9,
  outputs: [],
};

it('drops stand where they happen', () => {
  expect(lossesOf(chain)).toEqual({
    atCapture: [{ what: 'dropped by the kernel', count: 3 }],
    onUplink: [{ what: 'dropped: spool full', count: 4 }],
    inCollector: [{ what: 'dropped: bad batch', count: 2 }],
  });
  expect(droppedOf(chain)).toBe(6);
});

it('nothing lost is said too', () => {
  expect(lossesOf({ ...chain, dropped: {} }).onUplink).toEqual([{ what: 'dropped', count: 0 }]);
});
