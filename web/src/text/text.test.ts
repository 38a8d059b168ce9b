import { describe, expect, it } from 'vitest';
import { counted, formatBytes, formatByteRate, formatCount, formatPercent, formatRate, formatShort } from './figures';
import { compareTimes, formatDuration, formatRange, formatTime, justAfter, millisOf, nanosOf, secondsBack } from './times';
import { visible, visibleLine } from './visible';

describe('figures', () => {
  it('counts are grouped', () => {
    expect(formatCount(1204)).toBe('1,204');
    expect(counted(1, 'packet')).toBe('1 packet');
    expect(counted(0, 'packet')).toBe('0 packets');
  });
  it('bytes have at most three figures', () => {
    expect([0, 118, 1200, 12_345, 999_700, 3_400_000_000].map(formatBytes)).toEqual(['0 B', '118 B', '1.2 kB', '12 kB', '1.0 MB', '3.4 GB']);
    expect(formatByteRate(90_000)).toBe('90 kB/s');
    expect(formatShort(12_000)).toBe('12 k');
    expect(formatBytes(NaN)).toBe('–');
  });
  it('rates keep one decimal while small, and 0 is 0', () => {
    expect([0, 0.42, 9.96, 120, 1204.4].map(formatRate)).toEqual(['0', '0.4', '10', '120', '1,204']);
  });
  it('what is not nothing never reads as nothing', () => {
    expect([0, 0.004, 0.02, 1.953, 12].map(formatPercent)).toEqual(['0 %', '<0.01 %', '0.02 %', '2 %', '12 %']);
  });
});

describe('times', () => {
  const now = Date.parse('2026-11-23T16:00:00Z');
  it('relative ones are understood', () => {
    expect(secondsBack('-15m')).toBe(900);
    expect(secondsBack('-15')).toBeNull();
    expect(millisOf('-1h', now)).toBe(now - 3_600_000);
    expect(millisOf('', now)).toBe(now);
    expect(millisOf('1795455436', now)).toBe(1_795_455_436_000);
    expect(millisOf('soon', now)).toBeNull();
  });
  it('become nanoseconds without loss', () => {
    expect(nanosOf('2026-11-23T15:46:02.941526Z', now)).toBe('1795448762941526000');
    expect(nanosOf('2026-11-23T15:46:02Z', now)).toBe('1795448762000000000');
    expect(nanosOf('-1h', now)).toBe('1795446000000000000');
  });
  it('have a next moment', () => {
    expect(justAfter('2026-11-23T15:46:02.999999999Z')).toBe('2026-11-23T15:46:03.000000000Z');
    expect(justAfter('2026-11-23T15:46:02.5Z')).toBe('2026-11-23T15:46:02.500000001Z');
  });
  it('are ordered whatever their decimals', () => {
    const times = ['2026-11-23T15:46:02.1Z', '2026-11-23T15:46:02Z', '2026-11-23T15:46:02.09Z', '2026-11-23T15:46:01.999999Z'];
    expect(times.sort(compareTimes)).toEqual(['2026-11-23T15:46:01.999999Z', '2026-11-23T15:46:02Z', '2026-11-23T15:46:02.09Z', '2026-11-23T15:46:02.1Z']);
  });
  it('are shown with their day unless it is today', () => {
    expect(formatTime('2026-11-23T15:46:02.9415Z', 'utc', now)).toBe('15:46:02.941');
    expect(formatTime('2026-11-22T15:46:02Z', 'utc', now)).toBe('2026-11-22 15:46:02.000');
    expect(formatTime('2026-11-23T15:46:02.9Z', 'utc', now, 0)).toBe('15:46:02');
    expect(formatTime('soon', 'utc', now)).toBe('soon');
  });
  it('durations have a fitting unit', () => {
    expect([0, 0.000279, 0.0031, 0.98, 12, 59.4, 61, 3600, 7500, 90000].map(formatDuration)).toEqual([
      '0 s', '279 µs', '3.1 ms', '980 ms', '12 s', '59 s', '1 min 1 s', '1 h', '2 h 5 min', '1 d 1 h',
    ]);
  });
  it('ranges have a name', () => {
    expect(formatRange('-15m', '', 'utc', now)).toBe('last 15 min');
    expect(formatRange('2026-11-23T15:46:02Z', '2026-11-23T15:47:00Z', 'utc', now)).toBe('15:46:02 – 15:47:00');
    expect(formatRange('2026-11-23T15:46:02Z', '', 'utc', now)).toBe('15:46:02 – now');
  });
});

describe('text from the network', () => {
  it('shows what cannot be seen', () => {
    expect(visibleLine('a\u0001b\r\nc\td')).toBe('a\u27e801\u27e9b\u21b5c\u21e5d');
    expect(visibleLine('evil\u202etxt.exe')).toBe('evil\u27e8202E\u27e9txt.exe');
    expect(visible('a\r\nb\u0000')).toBe('a\nb\u27e800\u27e9');
  });
  it('leaves the rest alone', () => {
    expect(visibleLine('<script>alert(1)</script> é 漢')).toBe('<script>alert(1)</script> é 漢');
  });
});
