// The command that does the same as the form.

export interface Wanted {
  filter: string;
  sources: string[];
  since: string;
  until: string;
  format: 'pcapng' | 'pcap';
}

/** For a POSIX shell: plain where nothing needs a quote. */
function quoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

export function commandFor({ filter, sources, since, until, format }: Wanted): string {
  const words = ['tapline', 'grab'];
  if (filter) words.push(quoted(filter));
  for (const source of sources) words.push('--source', quoted(source));
  words.push(`--since ${quoted(since)}`);
  if (until) words.push(`--until ${quoted(until)}`);
  if (format !== 'pcapng') words.push(`-F ${format}`);
  words.push(`-w packets.${format}`);
  return words.join(' ');
}
