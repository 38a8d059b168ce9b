// Single keys. The newest view that wants a key gets it; none is taken while somebody types.

type Keys = Record<string, () => void>;

const listeners: Keys[] = [];

/** Takes keys until the returned function is called. */
export function takeKeys(keys: Keys): () => void {
  listeners.push(keys);
  return () => listeners.splice(listeners.indexOf(keys), 1);
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.matches('input, textarea, select') || target.isContentEditable);
}

/** Enter and blanks belong to a button or link that has the focus. */
function belongsToFocus(event: KeyboardEvent): boolean {
  return event.key === 'Enter' && event.target instanceof HTMLElement && event.target.matches('a, button, summary');
}

/** Takes the focus from a row that was clicked, so that Enter means the row the keys have chosen. */
export function leaveFocus(): void {
  if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
}

addEventListener('keydown', (event) => {
  if (document.querySelector('dialog[open]')) return;
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || belongsToFocus(event)) return;
  const taker = listeners.findLast((keys) => event.key in keys);
  if (!taker) return;
  event.preventDefault();
  taker[event.key]!();
});
