// The filter's words: taken apart and put together as the console does it (docs/api.md, "What to say with").

export interface Word {
  /** Empty for plain text. */
  name: string;
  value: string;
  excludes: boolean;
}

export interface Span extends Word {
  /** Where the word stands in the text, end exclusive. */
  start: number;
  end: number;
}

/** Words that are not fields of the event reference. */
export const SHORT_WORDS = ['type', 'source', 'status', 'ip', 'port', 'call', 'flow'] as const;

/** Splits at blanks outside double quotes. A quote that is not closed reaches to the end: people are still typing it. */
export function parseWords(text: string): Span[] {
  const words: Span[] = [];
  let at = 0;
  while (at < text.length) {
    if (/\s/.test(text[at]!)) {
      at += 1;
      continue;
    }
    const start = at;
    const excludes = text[at] === '-' && at + 1 < text.length && !/\s/.test(text[at + 1]!);
    if (excludes) at += 1;
    let name = '';
    if (text[at] !== '"') {
      const head = /^[^\s":]+:/.exec(text.slice(at));
      if (head) {
        name = head[0].slice(0, -1);
        at += head[0].length;
      }
    }
    let value = '';
    if (text[at] === '"') {
      at += 1;
      while (at < text.length && text[at] !== '"') {
        if (text[at] === '\\' && (text[at + 1] === '"' || text[at + 1] === '\\')) at += 1;
        value += text[at];
        at += 1;
      }
      at += 1;
    } else {
      while (at < text.length && !/\s/.test(text[at]!)) {
        value += text[at];
        at += 1;
      }
    }
    const end = Math.min(at, text.length);
    if (name || value) words.push({ name, value, excludes, start, end });
  }
  return words;
}

export function writeWord({ name, value, excludes }: Word): string {
  const plain = value !== '' && !/[\s"]/.test(value) && (name !== '' || !/[:]/.test(value)) && !(name === '' && value.startsWith('-'));
  const written = plain ? value : `"${value.replace(/["\\]/g, '\\$&')}"`;
  return `${excludes ? '-' : ''}${name ? `${name}:` : ''}${written}`;
}

export function writeWords(words: Word[]): string {
  return words.map(writeWord).join(' ');
}

const same = (a: Word, b: Word) => a.name === b.name && a.value === b.value;

/** Adds a word, in the place of one that says the same or the contrary. */
export function withWord(text: string, word: Word): string {
  const others = parseWords(text).filter((other) => !same(other, word));
  return writeWords([...others, word]);
}

export function withoutWord(text: string, word: Word): string {
  return writeWords(parseWords(text).filter((other) => !(same(other, word) && other.excludes === word.excludes)));
}

/** The values that are asked for under a name. */
export function valuesOf(text: string, name: string): string[] {
  return parseWords(text)
    .filter((word) => word.name === name && !word.excludes)
    .map((word) => word.value);
}

/** Puts these values in the place of those that were asked for under a name. */
export function withValues(text: string, name: string, values: string[]): string {
  const others = parseWords(text).filter((word) => word.name !== name || word.excludes);
  return writeWords([...values.map((value) => ({ name, value, excludes: false })), ...others]);
}
