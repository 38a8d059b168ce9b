import { describe, expect, it } from 'vitest';
import { columnsFor, fitting, summaryOf } from './columns';
import { endpoint, fieldsOf, groupsOf, namesFor, numberAt, textAt, valueAt, type EventDocument } from './document';

const dns: EventDocument = {
  id: 'x',
  '@timestamp': '2026-11-23T15:46:02.941526Z',
  type: 'dns',
  client: { ip: 'fd00::1', port: 59429 },
  'server.ip': '10.8.8.2',
  'server.port': 53,
  dns: { question: { name: 'www.example.test', type: 'A' }, answers: [{ data: '10.8.8.80' }, { data: '10.8.8.81' }], response_code: 'NOERROR', resolved_ip: ['10.8.8.80', '10.8.8.81'] },
  event: { duration: 279000 },
  status: 'OK',
};

describe('a document', () => {
  it('answers to dotted names, nested or not', () => {
    expect(valueAt(dns, 'dns.question.name')).toBe('www.example.test');
    expect(valueAt(dns, 'server.ip')).toBe('10.8.8.2');
    expect(valueAt({ 'dns.question': { name: 'x' } }, 'dns.question.name')).toBe('x');
    expect(valueAt(dns, 'toString')).toBeUndefined();
    expect(textAt(dns, 'dns.answers.data')).toBe('10.8.8.80, 10.8.8.81');
    expect(numberAt(dns, 'event.duration')).toBe(279000);
    expect(textAt(dns, 'nothing', 'dns.resolved_ip')).toBe('10.8.8.80, 10.8.8.81');
  });
  it('names its ends', () => {
    expect(endpoint(dns, 'client', 'source')).toBe('[fd00::1]:59429');
    expect(endpoint(dns, 'server', 'destination')).toBe('10.8.8.2:53');
    expect(endpoint(dns, 'source')).toBe('');
  });
  it('is laid out as fields with ECS names', () => {
    expect(fieldsOf(dns).filter((field) => field.name.startsWith('dns.answers'))).toEqual([
      { name: 'dns.answers.data', value: '10.8.8.80', item: 'dns.answers[1]' },
      { name: 'dns.answers.data', value: '10.8.8.81', item: 'dns.answers[2]' },
    ]);
    expect(groupsOf(dns).map((group) => group.title)).toEqual(['', 'dns', 'client', 'server', 'event']);
  });
  it('says which words ask for a field', () => {
    expect(namesFor('destination.port')).toEqual({ short: 'port', exact: 'destination.port' });
    expect(namesFor('type')).toEqual({ short: 'type', exact: '' });
    expect(namesFor('url.full')).toEqual({ short: '', exact: 'url.full' });
  });
});

describe('columns', () => {
  it('fit the type', () => {
    expect(columnsFor(['dns']).map((one) => one.title)).toEqual(['source', 'client', 'server', 'query', 'record', 'answer', 'code', 'took']);
    expect(columnsFor(['dns', 'http'])).toBe(columnsFor([]));
    expect(columnsFor(['dns']).map((one) => one.text(dns))).toEqual(['', '[fd00::1]:59429', '10.8.8.2:53', 'www.example.test', 'A', '10.8.8.80, 10.8.8.81', 'NOERROR', '279 µs']);
  });
  it('leave where there is no room, what says least first', () => {
    const titles = (pixels: number) => fitting(columnsFor(['dns']), pixels).map((one) => one.title);
    expect(titles(2000)).toHaveLength(8);
    expect(titles(632)).toEqual(['server', 'query', 'record', 'answer', 'code']);
    expect(titles(100)).toEqual(['query']);
  });
  it('sum up any event in a line', () => {
    expect(summaryOf(dns)).toBe('A www.example.test → NOERROR 10.8.8.80, 10.8.8.81');
    expect(summaryOf({ id: '', '@timestamp': '', type: 'new', query: 'SELECT 1' })).toBe('SELECT 1');
  });
});
