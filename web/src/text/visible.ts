// Text from the network, made safe to look at: what cannot be seen, or turns around what stands beside it, is shown as what it is.
// Markup needs no care here: the page only ever makes text nodes.

/** Controls, and the marks that change the direction of text or have no width. */
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

function shown(mark: string): string {
  const code = mark.charCodeAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return '\u2421';
  return `\u27e8${code.toString(16).toUpperCase().padStart(4, '0')}\u27e9`;
}

/** One line: line breaks and tabs are shown as signs too. */
export function visibleLine(text: string): string {
  return text.replace(/\r\n|[\n\t]/g, (mark) => (mark === '\t' ? '\u2409' : '\u240a')).replace(UNSEEN, shown);
}

/** Several lines: line breaks and tabs stay what they are. */
export function visible(text: string): string {
  return text.replace(/\r\n/g, '\n').replace(UNSEEN, shown);
}
