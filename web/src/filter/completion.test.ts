import { expect, it } from 'vitest';
import { completed, namesLike, typingAt, valueSuggestion } from './completion';

const fields = [
  { name: 'dns.question.name', text: 'The name asked for.' },
  { name: 'dns.question.type', text: '' },
  { name: 'type', text: '' },
  { name: 'sip.status', text: '' },
];

it('the word at the cursor is the one that is typed', () => {
  expect(typingAt('type:dns sta x', 12)).toMatchObject({ name: '', prefix: 'sta', start: 9, end: 12, others: 'type:dns x' });
  expect(typingAt('type:dns -status:"Cl', 20)).toMatchObject({ name: 'status', prefix: 'Cl', excludes: true, others: 'type:dns' });
  expect(typingAt('type:dns ', 9)).toMatchObject({ name: '', prefix: '', start: 9, others: 'type:dns' });
  expect(typingAt('-', 1)).toMatchObject({ prefix: '', excludes: true });
});

it('names come short words first', () => {
  const names = (text: string) => namesLike(typingAt(text, text.length), fields, 5).map((one) => one.text);
  expect(names('')).toEqual(['type:', 'source:', 'status:', 'ip:', 'port:']);
  expect(names('s')).toEqual(['source:', 'status:', 'sip.status:']);
  expect(names('-ty')).toEqual(['-type:', '-dns.question.type:']);
  expect(names('dns.q')).toEqual(['dns.question.name:', 'dns.question.type:']);
});

it('a suggestion takes the place of the word', () => {
  const text = 'a sta b';
  const typing = typingAt(text, 5);
  expect(completed(text, typing, { text: 'status:', meaning: '', open: true })).toEqual({ text: 'a status: b', cursor: 9 });
  const value = typingAt('status:C', 8);
  expect(completed('status:C', value, valueSuggestion(value, 'Client Error', ''))).toEqual({ text: 'status:"Client Error" ', cursor: 22 });
});
