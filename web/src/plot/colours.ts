// Which colour stands for what. Types have hues of their own; a name that is not known always gets the same one of the spare hues.

const TYPES = ['dns', 'http', 'flow', 'icmp', 'sip', 'call', 'rtp', 'rtcp'];
const SPARE = 6;
const STATUSES: Record<string, string> = { OK: 'ok', Error: 'loss', 'Client Error': 'warn', 'Server Error': 'loss' };

function spare(name: string): string {
  let hash = 0;
  for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)!) >>> 0;
  return `spare-${hash % SPARE}`;
}

/** The name of the custom property, without dashes. */
export function typeColour(type: string): string {
  return TYPES.includes(type) ? `type-${type}` : spare(type);
}

export function statusColour(status: string): string {
  return status === '' ? 'quiet' : (STATUSES[status] ?? spare(status));
}

export function colourOf(by: 'type' | 'source' | 'status', name: string): string {
  return by === 'type' ? typeColour(name) : by === 'status' ? statusColour(name) : spare(name);
}

/** What a custom property is in the present scheme, for canvases. */
export function resolved(name: string): string {
  const probe = document.createElement('i');
  probe.style.color = `var(--${name})`;
  probe.hidden = true;
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}
