// Times as the API writes them (RFC 3339, UTC, up to nanoseconds) and as people read them.

export type Zone = 'local' | 'utc';

const UNITS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86400 };

/** Seconds of `-15m`, `-2h`, `-1d`; none if it is no such thing. */
export function secondsBack(text: string): number | null {
  const found = /^-(\d+)([smhd])$/.exec(text);
  return found ? Number(found[1]) * UNITS[found[2]!]! : null;
}

/** Milliseconds since 1970 of any time the API takes; none if it is none. */
export function millisOf(text: string, now: number): number | null {
  if (text === '') return now;
  const back = secondsBack(text);
  if (back !== null) return now - back * 1000;
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  const millis = Date.parse(text);
  return Number.isNaN(millis) ? null : millis;
}

/** Nanoseconds since 1970, as the collector's own API wants them; nothing is lost of the decimals. */
export function nanosOf(text: string, now: number): string | null {
  const millis = millisOf(text, now);
  if (millis === null) return null;
  const decimals = /T.*\.(\d{1,9})/.exec(text)?.[1];
  const seconds = BigInt(Math.floor(millis / 1000));
  const rest = decimals ? BigInt(decimals.padEnd(9, '0')) : BigInt(Math.round(millis % 1000)) * 1_000_000n;
  return (seconds * 1_000_000_000n + rest).toString();
}

/** Orders RFC 3339 times in UTC whatever their number of decimals. */
export function compareTimes(a: string, b: string): number {
  const [x, y] = [a.replace(/Z$/, ''), b.replace(/Z$/, '')];
  return x < y ? -1 : x > y ? 1 : 0;
}

/** The moment one nanosecond later, for ranges that leave out their end. */
export function justAfter(text: string): string {
  const nanos = BigInt(nanosOf(text, 0) ?? 0) + 1n;
  const seconds = nanos / 1_000_000_000n;
  return `${new Date(Number(seconds) * 1000).toISOString().slice(0, 19)}.${String(nanos % 1_000_000_000n).padStart(9, '0')}Z`;
}

function parts(millis: number, zone: Zone) {
  const date = new Date(millis);
  const two = (value: number) => String(value).padStart(2, '0');
  return zone === 'utc'
    ? { day: date.toISOString().slice(0, 10), clock: date.toISOString().slice(11, 19) }
    : {
        day: `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`,
        clock: `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`,
      };
}

export function formatDay(millis: number, zone: Zone): string {
  return parts(millis, zone).day;
}

export function formatClock(millis: number, zone: Zone): string {
  return parts(millis, zone).clock;
}

/** `15:46:02.941`, with the day in front unless it is the day of `today`. */
export function formatTime(text: string, zone: Zone, today: number, decimals = 3): string {
  const millis = Date.parse(text);
  if (Number.isNaN(millis)) return text;
  const { day, clock } = parts(millis, zone);
  const fraction = (/\.(\d+)/.exec(text)?.[1] ?? '').padEnd(decimals, '0').slice(0, decimals);
  const time = decimals > 0 ? `${clock}.${fraction}` : clock;
  return day === parts(today, zone).day ? time : `${day} ${time}`;
}

/** `3.1 ms`, `12 s`, `2 h 5 min`: two significant places are enough to read. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '–';
  const size = Math.abs(seconds);
  if (size === 0) return '0 s';
  if (size < 1e-3) return `${short(seconds * 1e6)} µs`;
  if (size < 1) return `${short(seconds * 1e3)} ms`;
  if (size < 60) return `${short(seconds)} s`;
  const whole = Math.round(seconds);
  if (size < 3600) return pair(Math.floor(whole / 60), 'min', whole % 60, 's');
  if (size < 86400) return pair(Math.floor(whole / 3600), 'h', Math.floor((whole % 3600) / 60), 'min');
  return pair(Math.floor(whole / 86400), 'd', Math.floor((whole % 86400) / 3600), 'h');
}

function short(value: number): string {
  return value.toFixed(Math.abs(value) < 10 ? 1 : 0).replace(/\.0$/, '');
}

function pair(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}

/** What a range is called in one line. */
export function formatRange(since: string, until: string, zone: Zone, now: number): string {
  const back = secondsBack(since);
  if (back !== null && until === '') return `last ${formatDuration(back)}`;
  const side = (text: string) => (secondsBack(text) === null ? formatTime(text, zone, now, 0) : `${formatDuration(secondsBack(text)!)} ago`);
  return `${side(since)} – ${until === '' ? 'now' : side(until)}`;
}
