// The table's columns: which fit a type, and which of them fit the room there is.

import { counted, formatBytes, formatCount, formatPercent } from '../text/figures';
import { formatDuration } from '../text/times';
import { endpoint, numberAt, textAt, type EventDocument } from './document';

export interface Column {
  title: string;
  /** Pixels it needs at least. */
  width: number;
  /** Its share of what is left over. */
  grows: number;
  /** What goes first when room is short: the highest number. */
  leaves: number;
  right?: boolean;
  text: (event: EventDocument) => string;
}

const column = (title: string, width: number, grows: number, leaves: number, text: Column['text']): Column => ({ title, width, grows, leaves, text });
const figure = (title: string, width: number, leaves: number, text: Column['text']): Column => ({ title, width, grows: 0, leaves, text, right: true });

const field = (...names: string[]) => (event: EventDocument) => textAt(event, ...names);
const number = (name: string, write: (value: number) => string) => (event: EventDocument) => {
  const value = numberAt(event, name);
  return value === null ? '' : write(value);
};

const took = number('event.duration', (nanos) => (nanos > 0 ? formatDuration(nanos / 1e9) : ''));
const SOURCE = column('source', 84, 0, 6, field('tapline.source', 'observer.name'));
const CLIENT = column('client', 168, 0.4, 4, (event) => endpoint(event, 'client', 'source'));
const SERVER = column('server', 168, 0.4, 3, (event) => endpoint(event, 'server', 'destination'));
const STATUS = column('status', 96, 0, 5, field('status'));
const TOOK = figure('took', 76, 5, took);

function codec(event: EventDocument): string {
  return textAt(event, 'rtp.codec') || (numberAt(event, 'rtp.payload_type') === null ? '' : `PT ${textAt(event, 'rtp.payload_type')}`);
}

function flowState(event: EventDocument): string {
  const errors = numberAt(event, 'flow.icmp_errors.count');
  const state = textAt(event, 'flow.final') === 'true' ? 'ended' : 'open';
  return errors ? `${state}, ${counted(errors, 'ICMP error')}` : state;
}

function sipMessage(event: EventDocument): string {
  const code = textAt(event, 'sip.code');
  return code ? `${code} ${textAt(event, 'sip.status')}` : textAt(event, 'sip.method');
}

function party(event: EventDocument, side: 'from' | 'to'): string {
  const user = textAt(event, `sip.${side}.uri.username`);
  const host = textAt(event, `sip.${side}.uri.host`);
  return user ? `${user}@${host}` : host;
}

function icmpMessage(event: EventDocument): string {
  return textAt(event, 'icmp.request.message', 'icmp.response.message');
}

const answers = field('dns.resolved_ip', 'dns.answers.data');

const BY_TYPE: Record<string, Column[]> = {
  dns: [
    SOURCE,
    CLIENT,
    SERVER,
    column('query', 160, 2, 0, field('dns.question.name', 'resource', 'query')),
    column('record', 64, 0, 2, field('dns.question.type')),
    column('answer', 136, 1.5, 3, answers),
    column('code', 88, 0, 1, field('dns.response_code', 'status')),
    TOOK,
  ],
  http: [
    SOURCE,
    CLIENT,
    SERVER,
    column('method', 68, 0, 2, field('http.request.method', 'method')),
    column('URL', 160, 3, 0, field('url.full', 'query')),
    figure('status', 56, 1, field('http.response.status_code', 'status')),
    TOOK,
    figure('bytes', 72, 5, number('network.bytes', formatBytes)),
  ],
  rtp: [
    SOURCE,
    CLIENT,
    SERVER,
    column('codec', 80, 0.2, 0, codec),
    figure('lost', 72, 0, number('rtp.loss.percent', formatPercent)),
    figure('jitter', 80, 1, number('rtp.jitter.mean_ms', (ms) => formatDuration(ms / 1e3))),
    figure('MOS', 52, 2, number('rtp.mos', (mos) => mos.toFixed(2))),
    column('call', 120, 1.5, 3, field('rtp.call_id')),
  ],
  sip: [
    SOURCE,
    CLIENT,
    SERVER,
    column('message', 120, 1, 0, sipMessage),
    column('from', 120, 1, 2, (event) => party(event, 'from')),
    column('to', 120, 1, 2, (event) => party(event, 'to')),
    column('call', 120, 1, 3, field('sip.call_id')),
  ],
  call: [
    SOURCE,
    column('caller', 128, 1, 0, field('call.caller')),
    column('callee', 128, 1, 0, field('call.callee')),
    column('state', 88, 0, 1, field('call.state')),
    figure('code', 52, 3, field('call.code')),
    figure('talked', 76, 2, number('call.talk_time_ms', (ms) => formatDuration(ms / 1e3))),
    figure('lost', 72, 3, number('call.loss_percent', formatPercent)),
    figure('MOS', 52, 2, number('call.mos', (mos) => mos.toFixed(2))),
    column('call', 120, 1, 5, field('call.id')),
  ],
  icmp: [
    SOURCE,
    CLIENT,
    SERVER,
    column('message', 136, 1, 0, icmpMessage),
    column('answer', 120, 1, 2, field('icmp.response.message')),
    STATUS,
    TOOK,
  ],
  flow: [
    SOURCE,
    CLIENT,
    SERVER,
    column('transport', 80, 0, 2, field('network.transport')),
    figure('bytes', 80, 0, number('network.bytes', formatBytes)),
    figure('packets', 80, 1, number('network.packets', formatCount)),
    column('state', 88, 0.6, 1, flowState),
    TOOK,
  ],
};

function lossAndJitter(event: EventDocument): string {
  const loss = numberAt(event, 'rtp.loss.percent');
  const jitter = numberAt(event, 'rtp.jitter.mean_ms');
  return [codec(event), loss === null ? '' : `${formatPercent(loss)} lost`, jitter === null ? '' : `jitter ${formatDuration(jitter / 1e3)}`].filter(Boolean).join(', ');
}

const SUMMARIES: Record<string, (event: EventDocument) => string> = {
  dns: (event) => [textAt(event, 'dns.question.type'), textAt(event, 'dns.question.name', 'resource'), '→', textAt(event, 'dns.response_code') || 'no answer', answers(event)].filter(Boolean).join(' '),
  http: (event) => [textAt(event, 'http.request.method', 'method'), textAt(event, 'url.full', 'query'), '→', textAt(event, 'http.response.status_code') || 'no answer'].filter(Boolean).join(' '),
  rtp: lossAndJitter,
  rtcp: (event) => [textAt(event, 'rtcp.packets'), textAt(event, 'rtcp.cname')].filter(Boolean).join(' '),
  sip: (event) => `${sipMessage(event)} ${party(event, 'from')} → ${party(event, 'to')}`,
  call: (event) => `${textAt(event, 'call.state')} ${textAt(event, 'call.caller')} → ${textAt(event, 'call.callee')}`,
  icmp: icmpMessage,
  flow: (event) => [textAt(event, 'network.transport'), number('network.bytes', formatBytes)(event), number('network.packets', (value) => counted(value, 'packet'))(event), flowState(event)].filter(Boolean).join(', '),
};

/** One line that says what happened. */
export function summaryOf(event: EventDocument): string {
  const written = SUMMARIES[event.type]?.(event);
  return written || textAt(event, 'query', 'resource', 'method', 'event.action', 'event.reason', 'error.message');
}

const MIXED: Column[] = [SOURCE, CLIENT, SERVER, column('what', 200, 3, 0, summaryOf), STATUS, { ...TOOK, leaves: 7 }];

/** The columns for a table of one type, or of several. Time and type stand before them. */
export function columnsFor(types: string[]): Column[] {
  return (types.length === 1 && BY_TYPE[types[0]!]) || MIXED;
}

/** Those that fit into so many pixels; what says least leaves first. */
export function fitting(columns: Column[], pixels: number): Column[] {
  let kept = columns;
  while (kept.length > 1 && kept.reduce((sum, one) => sum + one.width, 0) > pixels) {
    const worst = Math.max(...kept.map((one) => one.leaves));
    const leaving = kept.findLastIndex((one) => one.leaves === worst);
    kept = kept.filter((_, at) => at !== leaving);
  }
  return kept;
}
