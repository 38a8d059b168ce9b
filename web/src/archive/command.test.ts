import { expect, it } from 'vitest';
import { commandFor } from './command';
import { removalOf, retentionOf } from './retention';

it('a command can be pasted into a shell, whatever stands in the form', () => {
  expect(commandFor({ filter: 'udp port 53', sources: ['web1', '$(reboot)'], since: '-15m', until: '', format: 'pcapng' })).toBe(
    "tapline grab 'udp port 53' --source web1 --source '$(reboot)' --since -15m -w packets.pcapng",
  );
  expect(commandFor({ filter: "a'b", sources: [], since: '2026-11-23T15:46:02Z', until: '2026-11-23T15:47:02Z', format: 'pcap' })).toBe(
    "tapline grab 'a'\\''b' --since 2026-11-23T15:46:02Z --until 2026-11-23T15:47:02Z -F pcap -w packets.pcap",
  );
});

it('retention is said in words', () => {
  expect(retentionOf({ age: '7d', size: 5e11, free: null })).toBe('Kept for 7d, up to 500 GB');
  expect(retentionOf({})).toBe('Kept until somebody removes it: no retention is set');
  expect(removalOf({ source: 'web1', bytes: 2.1e8, oldest: 'T' }, (text) => text ?? '')).toBe('web1, 210 MB, of T');
});
