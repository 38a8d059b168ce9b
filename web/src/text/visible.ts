// Text from the network, made safe to look at: what cannot be seen, or turns around what stands beside it, is shown as what it is.
// Markup needs no care here: the page only ever makes text nodes.

/** Controls, and the marks that change the direction of text or have no width. */
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** Its number between angle brackets. */
function shown(mark: string): string {
  return `\u27e8${mark.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}\u27e9`;
}

/** One line: line breaks and tabs are shown as signs too. */
export function visibleLine(text: string): string {
  return text.replace(/\r\n|[\n\t]/g, (mark) => (mark === '\t' ? '\u21e5' : '\u21b5')).replace(UNSEEN, shown);
}

/** Several lines: line breaks and tabs stay what they are. */
export function visible(text: string): string {
  return text.replace(/\r\n/g, '\n').replace(UNSEEN, shown);
}
