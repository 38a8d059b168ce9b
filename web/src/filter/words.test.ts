import { describe, expect, it } from 'vitest';
import { parseWords, valuesOf, withoutWord, withValues, withWord, writeWord, writeWords } from './words';

const plain = (text: string) => parseWords(text).map(({ name, value, excludes }) => [excludes ? '-' : '+', name, value]);

describe('words', () => {
  it('are split at blanks', () => {
    expect(plain(' type:dns  -status:Error no.such ')).toEqual([
      ['+', 'type', 'dns'],
      ['-', 'status', 'Error'],
      ['+', '', 'no.such'],
    ]);
  });
  it('keep blanks and colons within quotes', () => {
    expect(plain('status:"Client Error" "GET /a:b"')).toEqual([
      ['+', 'status', 'Client Error'],
      ['+', '', 'GET /a:b'],
    ]);
  });
  it('know escapes within quotes only', () => {
    expect(plain(String.raw`"say \"hi\" \\ \n" a\b`)).toEqual([
      ['+', '', String.raw`say "hi" \ \n`],
      ['+', '', String.raw`a\b`],
    ]);
  });
  it('take the first colon as the end of the name', () => {
    expect(plain('flow:1:abc= ip:fd00::/8 :x')).toEqual([
      ['+', 'flow', '1:abc='],
      ['+', 'ip', 'fd00::/8'],
      ['+', '', ':x'],
    ]);
  });
  it('are understood while they are typed', () => {
    expect(plain('type:')).toEqual([['+', 'type', '']]);
    expect(plain('status:"Client E')).toEqual([['+', 'status', 'Client E']]);
    expect(plain('-')).toEqual([['+', '', '-']]);
    expect(plain('""')).toEqual([]);
  });
  it('say where they stand', () => {
    expect(parseWords('a type:"b c"')[1]).toMatchObject({ start: 2, end: 12 });
  });
  it('come back as they were', () => {
    for (const text of ['type:dns -ip:10.0.0.0/8', 'status:"Client Error"', String.raw`"a \"b\" \\"`, '"a:b"', '"-x"', 'flow:1:a=']) {
      expect(writeWords(parseWords(text))).toBe(text);
    }
  });
  it('are quoted where they must be', () => {
    expect(writeWord({ name: 'url.full', value: 'http://x/ y', excludes: true })).toBe('-url.full:"http://x/ y"');
    expect(writeWord({ name: '', value: '', excludes: false })).toBe('""');
    const hostile = '"><img src=x> \\';
    expect(parseWords(writeWord({ name: 'url.path', value: hostile, excludes: false }))[0]?.value).toBe(hostile);
  });
});

describe('a filter', () => {
  it('has a word once, and not with its contrary', () => {
    expect(withWord('type:dns x', { name: 'type', value: 'dns', excludes: true })).toBe('x -type:dns');
    expect(withWord('x', { name: 'type', value: 'dns', excludes: false })).toBe('x type:dns');
  });
  it('loses a word', () => {
    expect(withoutWord('type:dns -type:dns x', { name: 'type', value: 'dns', excludes: false })).toBe('-type:dns x');
  });
  it('holds the choice of sources', () => {
    expect(valuesOf('source:a -source:b source:c', 'source')).toEqual(['a', 'c']);
    expect(withValues('source:a x -source:b', 'source', ['z'])).toBe('source:z x -source:b');
    expect(withValues('source:a x', 'source', [])).toBe('x');
  });
});
