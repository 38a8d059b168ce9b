// What the address bar holds: where one is and what one looks at. A link shows a colleague the same.

export const VIEWS = ['live', 'events', 'voice', 'archive'] as const;
export type View = (typeof VIEWS)[number];

export const STACKED_BY = ['type', 'source', 'status'] as const;
export type StackedBy = (typeof STACKED_BY)[number];

export interface Address {
  view: View;
  /** As the API takes it: `-15m` or RFC 3339. */
  since: string;
  /** Empty: up to now. */
  until: string;
  /** Words of the filter; the choice of sources is among them. */
  q: string;
  stackedBy: StackedBy;
  /** Whether new events come by themselves. Only where the range reaches up to now. */
  live: boolean;
  /** The opened event, stream or call. */
  open: string;
  /** Its time, which makes finding it quicker. */
  openTime: string;
  /** The archive's pcap filter. */
  packets: string;
}

export const START: Address = {
  view: 'live',
  since: '-15m',
  until: '',
  q: '',
  stackedBy: 'type',
  live: true,
  open: '',
  openTime: '',
  packets: '',
};

function oneOf<T extends string>(known: readonly T[], value: string | null, otherwise: T): T {
  return known.find((one) => one === value) ?? otherwise;
}

/** Reads `#/events?since=-1h&q=type%3Adns`. What it does not know it leaves out. */
export function readAddress(hash: string): Address {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split(/\?(.*)/s);
  const said = new URLSearchParams(query);
  return {
    view: oneOf(VIEWS, path, START.view),
    since: said.get('since') || START.since,
    until: said.get('until') ?? '',
    q: said.get('q') ?? '',
    stackedBy: oneOf(STACKED_BY, said.get('by'), START.stackedBy),
    live: said.get('live') !== '0',
    open: said.get('open') ?? '',
    openTime: said.get('time') ?? '',
    packets: said.get('packets') ?? '',
  };
}

/** Writes only what differs from the start. */
export function writeAddress(address: Address): string {
  const said = new URLSearchParams();
  if (address.since !== START.since) said.set('since', address.since);
  if (address.until) said.set('until', address.until);
  if (address.q) said.set('q', address.q);
  if (address.stackedBy !== START.stackedBy) said.set('by', address.stackedBy);
  if (!address.live) said.set('live', '0');
  if (address.open) said.set('open', address.open);
  if (address.open && address.openTime) said.set('time', address.openTime);
  if (address.packets) said.set('packets', address.packets);
  const query = said.toString();
  return `#/${address.view}${query ? `?${query}` : ''}`;
}
