// Answers of the console, shaped as docs/api.md says.

import type { EventDocument } from '../event/document';

/** How far an answer goes. */
export interface Bounds {
  complete: boolean;
  searched_from: string;
}

export interface Events extends Bounds {
  events: EventDocument[];
  next: string | null;
}

export interface Related extends Events {
  by: 'call' | 'flow' | null;
  value: string | null;
}

export interface EventPackets {
  packets: number;
  bytes: number;
  lost: number;
  command: string;
}

export interface Histogram extends Bounds {
  since: string;
  until: string;
  bucket_seconds: number;
  times: string[];
  series: { name: string; counts: number[] }[];
  capture_loss: number[];
  total: number;
}

export interface Facets extends Bounds {
  field: string;
  values: { value: string; count: number }[];
}

export interface FieldFacts {
  name: string;
  kind: string;
  text: string;
  types: string[];
}

export interface StreamPoint {
  time: string;
  seconds: number;
  loss_percent: number;
  jitter_mean_ms: number | null;
  jitter_max_ms: number | null;
  capture_loss: number;
  mos: number | null;
}

export interface Stream {
  id: string;
  key: string;
  source: string;
  call_id: string | null;
  ssrc: string;
  codec: string | null;
  client: string;
  server: string;
  start: string;
  end: string;
  final: boolean;
  packets: number;
  expected: number;
  lost: number;
  loss_percent: number;
  duplicates: number;
  out_of_order: number;
  capture_loss: number;
  jitter_mean_ms: number | null;
  jitter_max_ms: number | null;
  mos: number | null;
  points: StreamPoint[];
}

export interface Streams extends Bounds {
  streams: Stream[];
}

export interface Call {
  id: string;
  call_id: string;
  source: string;
  caller: string | null;
  callee: string | null;
  start: string | null;
  ring: string | null;
  answer: string | null;
  end: string | null;
  state: string | null;
  final_code: number | null;
  duration_ms: number | null;
  mos: number | null;
  streams: string[];
}

export interface Calls extends Bounds {
  calls: Call[];
}

export interface SourceRow {
  name: string;
  connected: boolean;
  protocol: string;
  packets_per_second: number;
  bytes_per_second: number;
  drops_per_second: number;
  received_packets: number;
  received_bytes: number;
  dropped_packets: number;
  behind_seconds: number | null;
  last_packet: string | null;
  spool_bytes: number;
  /** Until when its certificate is good; none without TLS. */
  certificate_expires: string | null;
  history: { seconds: number; until: string; packets: number[]; bytes: number[]; dropped: number[] };
}

export interface Chain {
  captured: number;
  kernel_dropped: number;
  /** By `place/reason`. */
  dropped: Record<string, number>;
  in_flight: number;
  archived: number;
  not_stored: number;
  published: number;
  decoded_packets: number;
  decode_missing: number;
  events: number;
  outputs: { name: string; written: number; dropped: number; queued: number }[];
}

export interface Overview {
  time: string;
  sources: SourceRow[];
  chain: Chain;
  balance: { closes: boolean; remark: string };
  collector: { reachable: boolean; error: string; version: string; archive_error: string | null };
  analyzer: { reachable: boolean; error: string };
  store: { events: number; bytes: number; oldest: string | null; newest: string | null };
  events_by_type: Record<string, number>;
}

export interface Retention {
  age?: string | null;
  size?: number | string | null;
  free?: number | string | null;
}

export interface ArchiveSource {
  name: string;
  bytes: number;
  segments: number;
  oldest: string | null;
  newest: string | null;
  days: { from: string; bytes: number }[];
}

export interface Archive {
  sources: ArchiveSource[];
  bytes: number;
  /** Seconds per entry of `days`. */
  step?: number;
  retention: Retention;
  next_removed: { source?: string; bytes?: number; oldest?: string | null; newest?: string | null; reason?: string } | null;
}

/** The collector's own answer (docs/collector.md). */
export interface Estimate {
  segments: number;
  batches: number;
  packets_at_most: number;
  bytes_to_read: number;
  archive_bytes: number;
}
