// A stand-in for `tapline console` while the page is made: answers docs/api.md from events that `tapline analyze` wrote, moved to now and
// repeated, and serves dist/ with the headers the console has to send. Not part of the program.
//
//   node dev/server.mjs EVENTS.ndjson [PORT] [--token T] [--empty] [--broken-balance] [--incomplete]

import { createReadStream, existsSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const options = process.argv.slice(2);
const flag = (name) => options.includes(name);
const valueAfter = (name) => (options.includes(name) ? options[options.indexOf(name) + 1] : '');
const [file, port = '7714'] = options.filter((one, at) => !one.startsWith('--') && options[at - 1] !== '--token');
const TOKEN = valueAfter('--token');
const DIST = join(dirname(fileURLToPath(import.meta.url)), '..', 'dist');
const SOURCES = ['web1', 'gw2', 'core-vienna'];
const MINUTES = 60;

let seed = 7;
const random = () => ((seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648);
const pick = (list) => list[Math.floor(random() * list.length)];
const iso = (millis) => new Date(millis).toISOString().replace(/\.?0*Z$/, 'Z');
const micros = (millis) => new Date(millis).toISOString().replace('Z', `${String(Math.floor(random() * 1000)).padStart(3, '0')}Z`);

// ---- events ----

function groupBy(list, key) {
  const groups = new Map();
  for (const one of list) {
    const group = groups.get(key(one));
    if (group) group.push(one);
    else groups.set(key(one), [one]);
  }
  return groups;
}

const samples = flag('--empty') ? [] : readFileSync(file, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line));
const byType = groupBy(samples, (sample) => sample.type);
const WEIGHTS = { dns: 12, http: 7, flow: 9, icmp: 2, sip: 3, rtcp: 1 };
const bag = Object.entries(WEIGHTS).flatMap(([type, weight]) => (byType.has(type) ? Array(weight).fill(type) : []));
let made = 0;

function moved(sample, millis, changes = {}) {
  const { _id, ...rest } = structuredClone(sample);
  const source = pick(SOURCES);
  made += 1;
  const event = { id: `${_id.slice(0, 20)}${String(made).padStart(12, '0')}`, ...rest, '@timestamp': micros(millis), ...changes };
  event.tapline = { ...event.tapline, source };
  event.observer = { name: source };
  event.event = { ...event.event, start: event['@timestamp'], end: iso(millis + (event.event?.duration ?? 0) / 1e6) };
  if (random() < 0.004) event.tapline.capture_loss = Math.ceil(random() * 40);
  return event;
}

const lossy = { 3: 12, 4: 31, 17: 4 };
const CALLERS = ['ada', 'bob', 'charles', 'grace', 'edsger'];

/** A call with its signalling and two streams over some minutes. */
function conversation(millis, number) {
  const call = byType.get('call')?.[0];
  const stream = byType.get('rtp')?.find((one) => one.rtp.final) ?? byType.get('rtp')?.[0];
  if (!call || !stream) return [];
  const [caller, callee] = [pick(CALLERS), pick(CALLERS)];
  const id = `${number}-7d1f@gw.example`;
  const intervals = 6 + Math.floor(random() * 20);
  const found = [];
  const messages = byType.get('sip').filter((one) => one.sip.call_id === call.call.id);
  messages.forEach((message, at) => {
    const later = at >= messages.length - 2 ? intervals * 10_000 + 400 + at : 300 * at;
    const event = moved(message, millis + later);
    event.sip = { ...event.sip, call_id: id };
    found.push(event);
  });
  const talk = { packets: 0, lost: 0 };
  for (const side of number % 7 === 5 ? [] : [0, 1]) {
    const ssrc = `0x${Math.floor(random() * 2 ** 32).toString(16).padStart(8, '0')}`;
    const total = { packets: 0, lost: 0, byCapture: 0 };
    for (let at = 0; at <= intervals; at += 1) {
      const last = at === intervals;
      const bad = number % 3 === 0 && at in lossy ? lossy[at] : random() < 0.1 ? 1 : 0;
      const byCapture = number % 4 === 1 && at === 5 ? 60 : 0;
      const event = moved(stream, last ? millis + 900 : millis + 900 + at * 10_000);
      const jitter = 1.5 + 4 * random() + bad / 3;
      const packets = last ? total.packets : 500 - bad * 5 - byCapture;
      const lost = last ? total.lost : bad * 5;
      if (!last) {
        total.packets += packets;
        total.lost += lost;
        total.byCapture += byCapture;
      }
      const share = (100 * lost) / Math.max(1, packets + lost);
      event.event.duration = last ? intervals * 1e10 : 1e10;
      event.event.end = iso(millis + 900 + (last ? intervals : at + 1) * 10_000);
      if (side) [event.source, event.destination] = [event.destination, event.source];
      event.rtp = {
        ...event.rtp, call_id: id, ssrc, final: last, packets, expected: packets + lost + (last ? total.byCapture : byCapture), lost: lost + (last ? total.byCapture : byCapture),
        lost_by_capture: last ? total.byCapture : byCapture, jitter: { mean_ms: +jitter.toFixed(3), max_ms: +(jitter * 2.4).toFixed(3), min_ms: 0.1 },
        loss: { percent: +share.toFixed(3), burst: bad > 5 ? lost : 0, gap: bad > 5 ? 0 : lost, run_max: Math.min(lost, bad) }, mos: +Math.max(1.2, 4.41 - share / 6).toFixed(2),
      };
      event.tapline.source = event.observer.name = 'gw2';
      if (byCapture && !last) event.tapline.capture_loss = byCapture;
      found.push(event);
    }
    talk.lost += total.lost;
    talk.packets += total.packets;
  }
  const state = number % 7 === 5 ? 'rejected' : 'answered';
  const event = moved(call, millis);
  event.call = {
    ...event.call, id, caller: `${caller}@10.9.8.1`, callee: `${callee}@10.9.8.2`, state, code: state === 'rejected' ? 486 : 200, start: iso(millis), ring: iso(millis + 300),
    answer: iso(millis + 900), end: iso(millis + 900 + intervals * 10_000), talk_time_ms: intervals * 10_000, mos: +Math.max(1.2, 4.41 - talk.lost / 200).toFixed(2),
    loss_percent: +((100 * talk.lost) / Math.max(1, talk.packets + talk.lost)).toFixed(3),
  };
  event.tapline.source = event.observer.name = 'gw2';
  return [...found, event];
}

const newestFirst = (a, b) => (a['@timestamp'] < b['@timestamp'] ? 1 : a['@timestamp'] > b['@timestamp'] ? -1 : a.id < b.id ? 1 : -1);
const start = Date.now();
let events = [];
if (samples.length > 0) {
  for (let second = -MINUTES * 60; second < 0; second += 1) {
    const many = 1 + Math.floor(2 * (1 + Math.sin(second / 130)) * random() + (second > -400 && second < -360 ? 12 * random() : 0));
    for (let at = 0; at < many; at += 1) events.push(moved(pick(byType.get(pick(bag))), start + second * 1000 + random() * 1000));
  }
  for (let number = 0; number < 14; number += 1) events.push(...conversation(start - 3_400_000 + number * 240_000 * (0.7 + 0.6 * random()), number));
  events = events.filter((event) => Date.parse(event['@timestamp']) < start).sort(newestFirst);
}

const watchers = new Set();
if (samples.length > 0) {
  setInterval(() => {
    const fresh = Array.from({ length: Math.floor(random() * 3) }, () => moved(pick(byType.get(pick(bag))), Date.now() - 400 * random()));
    events = [...fresh, ...events].sort(newestFirst);
    for (const watcher of watchers) fresh.filter(watcher.fits).forEach((event) => watcher.send('event', event));
  }, 300);
}

// ---- filters ----

class Wrong extends Error {
  constructor(message, hint) {
    super(message);
    this.hint = hint;
  }
}

function words(q) {
  const found = [];
  const pattern = /(-?)(?:([^\s":]+):)?(?:"((?:\\["\\]|[^"])*)"|(\S*))\s*/gy;
  q = q.trim();
  while (pattern.lastIndex < q.length) {
    const [, minus, name = '', quoted, plain] = pattern.exec(q) ?? [];
    const value = quoted?.replace(/\\(["\\])/g, '$1') ?? plain ?? '';
    if (name && !value) throw new Wrong(`the word \`${name}:\` is wrong: nothing stands after the colon`, `write ${name}:VALUE`);
    found.push({ name, value, excludes: minus === '-' });
  }
  return found;
}

const values = (event, name) => {
  const walk = (node, parts) => {
    if (node === undefined || node === null) return [];
    if (Array.isArray(node)) return node.flatMap((one) => walk(one, parts));
    if (parts.length === 0) return typeof node === 'object' ? [] : [String(node)];
    return typeof node === 'object' ? walk(node[parts[0]], parts.slice(1)) : [];
  };
  return walk(event, name.split('.'));
};
const SIDES = ['source', 'destination', 'client', 'server'];
const VALUES = {
  type: (event) => [event.type],
  source: (event) => [event.tapline.source],
  status: (event) => (event.status ? [event.status] : []),
  ip: (event) => [...new Set(SIDES.flatMap((side) => values(event, `${side}.ip`)))],
  port: (event) => [...new Set(SIDES.flatMap((side) => values(event, `${side}.port`)))],
  call: (event) => [...values(event, 'sip.call_id'), ...values(event, 'rtp.call_id'), ...values(event, 'call.id')],
  flow: (event) => values(event, 'network.community_id'),
};
const fieldNames = new Map();
for (const sample of samples) {
  const walk = (node, name) => {
    if (Array.isArray(node)) node.forEach((one) => walk(one, name));
    else if (node && typeof node === 'object') Object.entries(node).forEach(([inner, one]) => walk(one, name ? `${name}.${inner}` : inner));
    else if (name && name !== '_id') fieldNames.set(name, new Set([...(fieldNames.get(name) ?? []), sample.type]));
  };
  walk(sample, '');
}
const valuesOf = (name) => {
  if (VALUES[name]) return VALUES[name];
  if (!fieldNames.has(name)) throw new Wrong(`the word \`${name}:\` is wrong: there is no field \`${name}\``, 'put it in double quotes to search for it as text');
  return (event) => values(event, name);
};

const inNetwork = (ip, network) => {
  const [address, bits] = network.split('/');
  if (bits === undefined || address.includes(':')) return ip === address;
  const number = (text) => text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
  return !ip.includes(':') && Math.floor(number(ip) / 2 ** (32 - bits)) === Math.floor(number(address) / 2 ** (32 - bits));
};

function fitting(query) {
  const list = words(query.get('q') ?? '');
  for (const name of Object.keys(VALUES)) if (query.get(name)) list.push({ name, value: query.get(name), excludes: false });
  const groups = [...groupBy(list, (word) => `${word.excludes}${word.name || word.value}`).values()];
  const tests = groups.map((group) => {
    const { name, excludes } = group[0];
    const of = name ? valuesOf(name) : null;
    const one = (event) =>
      of
        ? of(event).some((value) => group.some((word) => (name === 'ip' ? inNetwork(value, word.value) : value === word.value)))
        : JSON.stringify(event).toLowerCase().includes(JSON.stringify(group[0].value.toLowerCase()).slice(1, -1));
    return (event) => one(event) !== excludes;
  });
  return (event) => tests.every((test) => test(event));
}

function moment(text, otherwise) {
  if (!text) return otherwise;
  const back = /^-(\d+)([smhd])$/.exec(text);
  if (back) return Date.now() - back[1] * { s: 1, m: 60, h: 3600, d: 86400 }[back[2]] * 1000;
  const millis = /^\d+(\.\d+)?$/.test(text) ? text * 1000 : Date.parse(text);
  if (Number.isNaN(millis)) throw new Wrong(`\`${text}\` is no time`, 'write RFC 3339, a Unix time, or -15m');
  return millis;
}

function found(query) {
  const [since, until] = [moment(query.get('since'), Date.now() - 900_000), moment(query.get('until'), Date.now())];
  const fits = fitting(query);
  let [from, to] = [iso(since), iso(until)];
  const searched = flag('--incomplete') ? iso(since + (until - since) / 2) : from;
  if (flag('--incomplete')) from = searched;
  const inRange = (event) => event['@timestamp'] >= from.replace('Z', '') && event['@timestamp'] < to.replace('Z', '');
  return { since, until, list: events.filter((event) => inRange(event) && fits(event)), bounds: { complete: !flag('--incomplete'), searched_from: searched } };
}

// ---- answers ----

const totals = SOURCES.map((name, at) => ({ name, at, packets: 40_000 * (at + 1), bytes: 2.4e7 * (at + 1), dropped: at === 2 ? 42 : 0, history: Array(120).fill(0).map(() => [0, 0, 0]) }));
let captured = 240_000;
const tick = () => {
  for (const one of totals) {
    const rate = samples.length === 0 || (one.at === 1 && process.uptime() % 60 > 50) ? 0 : Math.round((40 + 800 * one.at) * (1 + 0.5 * Math.sin(Date.now() / 9000 + one.at)) * (0.8 + 0.4 * random()));
    const drops = one.at === 2 && random() < 0.03 ? Math.ceil(random() * 20) : 0;
    one.packets += rate;
    one.bytes += rate * 620;
    one.dropped += drops;
    captured += rate + drops;
    one.history = [...one.history.slice(1), [rate, rate * 620, drops]];
  }
};
for (let at = 0; at < 120; at += 1) tick();
setInterval(tick, 1000);

function overview() {
  const dropped = totals.reduce((sum, one) => sum + one.dropped, 0);
  const inFlight = samples.length === 0 ? 0 : Math.floor(random() * 90);
  const archived = captured - dropped - inFlight - 1200;
  const broken = flag('--broken-balance');
  return {
    time: iso(Date.now()),
    sources: samples.length === 0 ? [] : totals.map((one) => {
      const [rate, bytes, drops] = one.history.at(-1);
      return {
        name: one.name, connected: one.at !== 1 || rate > 0, protocol: one.at === 1 ? 'osmo-pcap' : 'tapline', packets_per_second: rate, bytes_per_second: bytes, drops_per_second: drops,
        received_packets: one.packets, received_bytes: one.bytes, dropped_packets: one.dropped, behind_seconds: 0.04 + 0.3 * random(), last_packet: iso(Date.now() - 300 * random()), certificate_expires: null, spool_bytes: one.at * 18_000,
        history: { seconds: 1, until: iso(Date.now()), packets: one.history.map((h) => h[0]), bytes: one.history.map((h) => h[1]), dropped: one.history.map((h) => h[2]) },
      };
    }),
    chain: samples.length === 0
      ? { captured: 0, kernel_dropped: 0, dropped: {}, in_flight: 0, archived: 0, not_stored: 0, published: 0, decoded_packets: 0, decode_missing: 0, events: 0, outputs: [{ name: 'store', written: 0, dropped: 0, queued: 0 }] }
      : {
          captured, kernel_dropped: 0, dropped: { 'probe/spool_full': dropped }, in_flight: inFlight, archived: archived - (broken ? 17 : 0), not_stored: 1200, published: archived + 1200, decoded_packets: archived + 1190,
          decode_missing: 0, events: events.length, outputs: [{ name: 'store', written: events.length, dropped: 0, queued: Math.floor(random() * 4) }, { name: 'ndjson', written: events.length, dropped: 0, queued: 0 }],
        },
    balance: { closes: !broken, remark: broken ? '17 packets of gw2 were acknowledged and are not in the archive' : '' },
    collector: { reachable: true, error: '', version: '0.1.0', archive_error: null },
    analyzer: { reachable: !broken, error: broken ? 'nothing listens on 127.0.0.1:7715' : '' },
    store: { events: events.length, bytes: events.length * 412, oldest: events.at(-1)?.['@timestamp'] ?? null, newest: events[0]?.['@timestamp'] ?? null },
    events_by_type: Object.fromEntries([...groupBy(events, (event) => event.type)].map(([type, list]) => [type, list.length])),
  };
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400];

function histogram(query) {
  const { since, until, list, bounds } = found(query);
  const step = STEPS.find((one) => (until - since) / 1000 / one <= Number(query.get('buckets') ?? 120)) ?? 86400 * 7;
  const first = Math.floor(since / 1000 / step) * step;
  const length = Math.max(1, Math.ceil((until / 1000 - first) / step));
  const by = VALUES[query.get('by') ?? 'type'];
  const series = new Map();
  const lost = Array(length).fill(0);
  for (const event of list) {
    const at = Math.floor((Date.parse(event['@timestamp']) / 1000 - first) / step);
    const name = by(event)[0] ?? '';
    if (!series.has(name)) series.set(name, Array(length).fill(0));
    series.get(name)[at] += 1;
    lost[at] += event.tapline.capture_loss ?? 0;
  }
  const sum = (counts) => counts.reduce((a, b) => a + b, 0);
  return {
    since: iso(since), until: iso(until), bucket_seconds: step, times: lost.map((_, at) => iso((first + at * step) * 1000)),
    series: [...series].map(([name, counts]) => ({ name, counts })).sort((a, b) => sum(b.counts) - sum(a.counts)), capture_loss: lost, total: list.length, ...bounds,
  };
}

function facets(query) {
  const of = valuesOf(query.get('field'));
  const { list, bounds } = found(query);
  const counts = new Map();
  for (const event of list) for (const value of of(event)) if (value.toLowerCase().startsWith((query.get('prefix') ?? '').toLowerCase())) counts.set(value, (counts.get(value) ?? 0) + 1);
  return { field: query.get('field'), values: [...counts].sort((a, b) => b[1] - a[1]).slice(0, query.get('limit') ?? 10).map(([value, count]) => ({ value, count })), ...bounds };
}

const address = (side) => `${side.ip}:${side.port}`;

function streams(query) {
  const { list, bounds } = found(query);
  const groups = groupBy(list.filter((event) => event.type === 'rtp'), (event) => [event.tapline.source, event.rtp.ssrc, address(event.source), address(event.destination)].join(' '));
  const rows = [...groups].map(([key, group]) => {
    const whole = group.find((event) => event.rtp.final);
    const parts = group.filter((event) => !event.rtp.final).reverse();
    const points = (parts.length ? parts : group).map((event) => ({
      time: event['@timestamp'], seconds: event.event.duration / 1e9, loss_percent: event.rtp.loss.percent, jitter_mean_ms: event.rtp.jitter.mean_ms, jitter_max_ms: event.rtp.jitter.max_ms,
      capture_loss: event.rtp.lost_by_capture ?? 0, mos: event.rtp.mos ?? null,
    }));
    const shown = whole ?? group[0];
    return {
      id: group[0].id, key, source: shown.tapline.source, call_id: shown.rtp.call_id ?? null, ssrc: shown.rtp.ssrc, codec: shown.rtp.codec ?? null, client: address(shown.source), server: address(shown.destination),
      start: group.at(-1)['@timestamp'], end: shown.event.end, final: Boolean(whole), packets: shown.rtp.packets, expected: shown.rtp.expected, lost: shown.rtp.lost, loss_percent: shown.rtp.loss.percent,
      duplicates: shown.rtp.duplicates, out_of_order: shown.rtp.out_of_order, capture_loss: shown.rtp.lost_by_capture ?? 0, jitter_mean_ms: shown.rtp.jitter.mean_ms, jitter_max_ms: shown.rtp.jitter.max_ms,
      mos: shown.rtp.mos ?? null, points,
    };
  });
  return { streams: rows.slice(0, query.get('limit') ?? 200), ...bounds };
}

function calls(query) {
  const { list, bounds } = found(query);
  const keys = streams(query).streams;
  const rows = list.filter((event) => event.type === 'call').map((event) => ({
    id: event.id, call_id: event.call.id, source: event.tapline.source, caller: event.call.caller, callee: event.call.callee, start: event.call.start, ring: event.call.ring, answer: event.call.answer, end: event.call.end,
    state: event.call.state, final_code: event.call.code, duration_ms: event.call.talk_time_ms, mos: event.call.mos, streams: keys.filter((one) => one.call_id === event.call.id).map((one) => one.key),
  }));
  return { calls: rows.slice(0, query.get('limit') ?? 100), ...bounds };
}

function related(event, query) {
  const [by, value] = VALUES.call(event)[0] ? ['call', VALUES.call(event)[0]] : ['flow', VALUES.flow(event)[0]];
  const list = value ? events.filter((other) => other.id !== event.id && VALUES[by](other).includes(value)) : [];
  return { events: list.slice(0, query.get('limit') ?? 50), next: null, complete: true, searched_from: iso(start - MINUTES * 60_000), by: value ? by : null, value: value ?? null };
}

function archive() {
  const day = 3600_000;
  const first = Math.floor(start / day) * day - 180 * day;
  const sources = samples.length === 0 ? [] : totals.map((one) => {
    const days = Array.from({ length: 181 }, (_, at) => ({ from: iso(first + at * day), bytes: (one.at === 1 && at > 60 && at < 78) || (one.at === 2 && at < 40) ? 0 : Math.round(4e8 * (one.at + 1) * (0.6 + 0.4 * Math.sin(at / 3.8)) * (0.7 + 0.3 * random())) }));
    const stored = days.filter((entry) => entry.bytes > 0);
    return { name: one.name, bytes: stored.reduce((sum, entry) => sum + entry.bytes, 0), segments: stored.length, oldest: stored[0].from, newest: iso(Date.now()), days };
  });
  return { sources, bytes: sources.reduce((sum, one) => sum + one.bytes, 0), step: 3600, retention: { age: '7d', size: 500e9, free: 20e9 }, next_removed: sources.length ? { source: 'web1', bytes: 2.1e8, oldest: sources[0].oldest } : null };
}

const COMMAND = (event) => `tapline grab 'community-id ${event.network?.community_id ?? '?'}' --source ${event.tapline.source} --since ${event['@timestamp']} -w event.pcapng`;
const one = (id) => {
  const event = events.find((other) => other.id === id);
  if (!event) throw Object.assign(new Wrong('there is no such event', 'it may have been removed by retention'), { status: 404 });
  return event;
};

function answer(path, query) {
  const id = /^events\/([0-9a-f]+)(\/.*)?$/.exec(path);
  if (id) {
    const event = one(id[1]);
    if (!id[2]) return event;
    if (id[2] === '/related') return related(event, query);
    if (id[2] === '/packets') return { packets: event.tapline.packet.last - event.tapline.packet.first + 1, bytes: event.network?.bytes ?? 512, lost: event.tapline.capture_loss ?? 0, command: COMMAND(event) };
  }
  switch (path) {
    case 'events': {
      const { list, bounds } = found(query);
      const limit = Number(query.get('limit') ?? 50);
      const from = query.get('after') ? list.findIndex((event) => `${event['@timestamp']} ${event.id}` < query.get('after')) : 0;
      const page = from < 0 ? [] : list.slice(from, from + limit);
      return { events: page, next: from >= 0 && from + limit < list.length ? `${page.at(-1)['@timestamp']} ${page.at(-1).id}` : null, ...bounds };
    }
    case 'histogram': return histogram(query);
    case 'facets': return facets(query);
    case 'fields': return { fields: [...fieldNames].map(([name, types]) => ({ name, kind: 'keyword', text: '', types: [...types] })) };
    case 'streams': return streams(query);
    case 'calls': return calls(query);
    case 'overview': return overview();
    case 'archive': return archive();
    case 'estimate':
      if (/porrt/.test(query.get('query'))) throw new Wrong("the filter `porrt` is wrong: can't parse filter expression: syntax error", 'write a pcap filter expression, such as: udp port 53');
      return { segments: 3, batches: 120, packets_at_most: 48_000, bytes_to_read: 12_000_000, archive_bytes: 2_000_000_000 };
    default: throw Object.assign(new Wrong('there is nothing here', 'see docs/api.md'), { status: 404 });
  }
}

// ---- HTTP ----

function stream(response, period, begin) {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' }).flushHeaders();
  const send = (name, value) => response.write(`event: ${name}\ndata: ${JSON.stringify(value)}\n\n`);
  const stop = begin(send);
  const timer = setInterval(() => response.write(': still here\n\n'), period);
  response.on('close', () => (clearInterval(timer), stop()));
}

const KINDS = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml' };
const HEADERS = { 'content-security-policy': "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'", 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' };

function page(path, response) {
  const name = join(DIST, normalize(path === '/' ? '/index.html' : path));
  if (!name.startsWith(DIST) || !existsSync(name) || !statSync(name).isFile()) return response.writeHead(404, HEADERS).end('not found');
  response.writeHead(200, { ...HEADERS, 'content-type': KINDS[extname(name)] ?? 'application/octet-stream', 'cache-control': path.startsWith('/assets/') ? 'public, max-age=31536000, immutable' : 'no-cache' });
  createReadStream(name).pipe(response);
}

createServer((request, response) => {
  const { pathname, searchParams: query } = new URL(request.url, 'http://localhost');
  if (!pathname.startsWith('/api/v1/')) return page(pathname, response);
  const path = pathname.slice('/api/v1/'.length);
  const json = (status, value, headers = {}) => response.writeHead(status, { ...HEADERS, 'content-type': 'application/json', 'cache-control': 'no-store', ...headers }).end(JSON.stringify(value));
  const said = request.headers.authorization === `Bearer ${TOKEN}`;
  if (TOKEN && !said && !(request.headers.cookie ?? '').includes(`tapline_token=${TOKEN}`)) return json(401, { error: 'a token is needed', hint: 'make one with `tapline keys token`' });
  if (path === 'session' && request.method === 'POST') return response.writeHead(204, { 'set-cookie': `tapline_token=${TOKEN}; HttpOnly; SameSite=Strict; Path=/` }).end();
  try {
    if (path === 'overview/live') {
      return stream(response, 15_000, (send) => {
        send('overview', overview());
        const timer = setInterval(() => send('overview', overview()), 1000);
        return () => clearInterval(timer);
      });
    }
    if (path === 'events/live') {
      const fits = fitting(query);
      return stream(response, 15_000, (send) => {
        const watcher = { fits, send };
        watchers.add(watcher);
        return () => watchers.delete(watcher);
      });
    }
    if (path === 'packets' || /\/packets\.pcapng$/.test(path)) {
      response.writeHead(200, { ...HEADERS, 'content-type': 'application/x-pcapng', 'content-disposition': 'attachment; filename="tapline.pcapng"' });
      let pieces = path === 'packets' ? 30 : 1;
      const timer = setInterval(() => (pieces-- > 0 ? response.write(Buffer.alloc(65_536)) : response.end()), 100);
      return response.on('close', () => clearInterval(timer));
    }
    json(200, answer(path, query));
  } catch (error) {
    if (!(error instanceof Wrong)) console.error(error);
    json(error.status ?? (error instanceof Wrong ? 400 : 500), { error: error.message, hint: error.hint ?? '' });
  }
}).listen(Number(port), '127.0.0.1', () => console.log(`http://127.0.0.1:${port}/ with ${events.length} events`));
