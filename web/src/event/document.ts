// An event as it stands in the store: ECS names, nested or dotted.

export type Value = string | number | boolean | null | Value[] | { [name: string]: Value };

export interface EventDocument {
  id: string;
  '@timestamp': string;
  type: string;
  [name: string]: Value;
}

const isObject = (value: Value | undefined): value is { [name: string]: Value } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The value of a dotted name, whether the document nests it or not. */
export function valueAt(document: { [name: string]: Value }, name: string): Value | undefined {
  if (Object.hasOwn(document, name)) return document[name];
  for (let dot = name.indexOf('.'); dot > 0; dot = name.indexOf('.', dot + 1)) {
    const head = name.slice(0, dot);
    const inner = Object.hasOwn(document, head) ? document[head] : undefined;
    const rest = name.slice(dot + 1);
    const found = Array.isArray(inner) ? valuesAt(inner, rest) : isObject(inner) ? valueAt(inner, rest) : undefined;
    if (found !== undefined) return found;
  }
  return undefined;
}

/** What the members of a list have under a name. */
function valuesAt(list: Value[], name: string): Value[] | undefined {
  const found = list.filter(isObject).flatMap((one) => valueAt(one, name) ?? []);
  return found.length > 0 ? found : undefined;
}

/** The first of these names that has a value, as text; lists are joined. */
export function textAt(document: { [name: string]: Value }, ...names: string[]): string {
  for (const name of names) {
    const value = valueAt(document, name);
    if (value === undefined || value === null) continue;
    return (Array.isArray(value) ? value : [value]).map((one) => (isObject(one) ? JSON.stringify(one) : String(one))).join(', ');
  }
  return '';
}

export function numberAt(document: { [name: string]: Value }, name: string): number | null {
  const value = valueAt(document, name);
  return typeof value === 'number' ? value : null;
}

export interface Field {
  name: string;
  value: string | number | boolean;
  /** Which item of which list it belongs to; empty outside of lists of objects. */
  item: string;
}

/** Every leaf with its dotted name. Lists of plain values give one field per value, lists of objects one per member. */
export function fieldsOf(document: { [name: string]: Value }): Field[] {
  const fields: Field[] = [];
  const walk = (name: string, value: Value, item: string) => {
    if (value === null) return;
    if (Array.isArray(value)) {
      value.forEach((one, at) => walk(name, one, isObject(one) ? `${item}${name}[${at + 1}]` : item));
    } else if (isObject(value)) {
      for (const [inner, one] of Object.entries(value)) walk(name ? `${name}.${inner}` : inner, one, item);
    } else {
      fields.push({ name, value, item });
    }
  };
  for (const [name, value] of Object.entries(document)) if (name !== 'id' && name !== '_id') walk(name, value, '');
  return fields;
}

export interface FieldGroup {
  title: string;
  fields: Field[];
}

/** What says most comes first; the rest follows by its first name. */
const ORDER = ['', 'source', 'destination', 'client', 'server', 'network', 'event', 'related', 'observer', 'tapline'];

/** Fields by the first part of their names: the whole event, what its type adds, then the others. */
export function groupsOf(document: { [name: string]: Value }): FieldGroup[] {
  const groups = new Map<string, Field[]>();
  for (const field of fieldsOf(document)) {
    const dot = field.name.indexOf('.');
    const title = dot < 0 ? '' : field.name.slice(0, dot);
    const group = groups.get(title);
    if (group) group.push(field);
    else groups.set(title, [field]);
  }
  const rank = (title: string) => {
    const at = ORDER.indexOf(title);
    return at < 0 ? 0.5 : at;
  };
  return [...groups].map(([title, fields]) => ({ title, fields })).sort((a, b) => rank(a.title) - rank(b.title));
}

/** `10.0.0.7:40112`, `[fd00::1]:53`; the address alone where there is no port. */
export function endpoint(document: { [name: string]: Value }, ...sides: string[]): string {
  for (const side of sides) {
    const ip = textAt(document, `${side}.ip`);
    if (!ip) continue;
    const port = textAt(document, `${side}.port`);
    if (!port) return ip;
    return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
  }
  return '';
}

/** Which words of the filter ask for this value: the short one where there is one, and the field itself. */
export function namesFor(field: string): { short: string; exact: string } {
  const exact = field === 'type' || field === 'status' ? '' : field;
  if (field === 'type' || field === 'status') return { short: field, exact };
  if (field === 'tapline.source') return { short: 'source', exact };
  if (field === 'network.community_id') return { short: 'flow', exact };
  if (/^(sip\.call_id|rtp\.call_id|rtcp\.call_id|call\.id)$/.test(field)) return { short: 'call', exact };
  if (/^(source|destination|client|server)\.ip$/.test(field)) return { short: 'ip', exact };
  if (/^(source|destination|client|server)\.port$/.test(field)) return { short: 'port', exact };
  return { short: '', exact };
}
