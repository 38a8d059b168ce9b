// What could be meant by the word that is being typed.

import { parseWords, SHORT_WORDS, writeWord, writeWords } from './words';

export interface Typing {
  /** What is known of the name; empty while it is still being typed. */
  name: string;
  /** The beginning of the value, or of the name. */
  prefix: string;
  excludes: boolean;
  start: number;
  end: number;
  /** The filter without this word. */
  others: string;
}

/** The word at the cursor. */
export function typingAt(text: string, cursor: number): Typing {
  const words = parseWords(text);
  const word = words.find((one) => one.start <= cursor && cursor <= one.end);
  if (!word) return { name: '', prefix: '', excludes: false, start: cursor, end: cursor, others: text.trim() };
  const minusAlone = word.name === '' && word.value === '-';
  return {
    name: word.name,
    prefix: minusAlone ? '' : word.value,
    excludes: word.excludes || minusAlone,
    start: word.start,
    end: word.end,
    others: writeWords(words.filter((one) => one !== word)),
  };
}

const MEANINGS: Record<string, string> = {
  type: 'the protocol, or the kind of observation',
  source: 'where it was captured',
  status: 'how it went: OK, Error, Client Error, Server Error',
  ip: 'an address or network, either side',
  port: 'a port, either side',
  call: 'a Call-ID',
  flow: 'a Community ID',
};

export interface Suggestion {
  /** What is put in the place of the word. */
  text: string;
  /** What is shown beside it. */
  meaning: string;
  /** Whether a value still has to follow. */
  open: boolean;
}

/** Names that begin so: short words first, then fields; of fields also those that have a later part that begins so. */
export function namesLike(typing: Typing, fields: { name: string; text: string }[], most: number): Suggestion[] {
  const wanted = typing.prefix.toLowerCase();
  const minus = typing.excludes ? '-' : '';
  const short = SHORT_WORDS.filter((name) => name.startsWith(wanted)).map((name) => ({ name, text: MEANINGS[name]! }));
  const begins = fields.filter((field) => field.name.startsWith(wanted) && wanted !== '');
  const within = fields.filter((field) => wanted.length > 1 && !field.name.startsWith(wanted) && field.name.includes(`.${wanted}`));
  const known = new Set<string>();
  return [...short, ...begins, ...within]
    .filter((one) => !known.has(one.name) && known.add(one.name))
    .slice(0, most)
    .map(({ name, text }) => ({ text: `${minus}${name}:`, meaning: text, open: true }));
}

export function valueSuggestion(typing: Typing, value: string, meaning: string): Suggestion {
  return { text: writeWord({ name: typing.name, value, excludes: typing.excludes }), meaning, open: false };
}

/** The text with the suggestion in the place of the word, and where the cursor goes. */
export function completed(text: string, typing: Typing, suggestion: Suggestion): { text: string; cursor: number } {
  const after = text.slice(typing.end).trimStart();
  const put = suggestion.open ? suggestion.text : `${suggestion.text} `;
  const gap = suggestion.open && after ? ' ' : '';
  return { text: text.slice(0, typing.start) + put + gap + after, cursor: typing.start + put.length };
}
