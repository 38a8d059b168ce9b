// Server-Sent Events that come again after a break, and rest while nobody looks: a browser opens only six connections to one host,
// and hidden tabs would hold them.

import { addressOf, type Said } from './client';
import { connection } from './connection.svelte';

const WAITS_MS = [500, 1000, 2000, 4000, 8000];

export interface Listener {
  /** By the name of the event. */
  on: Record<string, (data: unknown) => void>;
  /** After each opening; what came in between was missed. */
  opened?: () => void;
  /** After each failure to open. */
  failed?: () => void;
}

/** Listens until the returned function is called. */
export function listen(path: string, said: Said, listener: Listener): () => void {
  let source: EventSource | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let failures = 0;

  const close = () => {
    clearTimeout(timer);
    source?.close();
    source = null;
  };

  const open = () => {
    close();
    if (document.hidden) return;
    source = new EventSource(addressOf(path, said));
    source.onopen = () => {
      failures = 0;
      connection.worked();
      listener.opened?.();
    };
    source.onerror = () => {
      close();
      const wait = WAITS_MS[Math.min(failures, WAITS_MS.length - 1)];
      failures += 1;
      timer = setTimeout(open, wait);
      listener.failed?.();
    };
    for (const [name, take] of Object.entries(listener.on)) {
      source.addEventListener(name, (event: MessageEvent<string>) => take(JSON.parse(event.data)));
    }
  };

  document.addEventListener('visibilitychange', open);
  open();
  return () => {
    document.removeEventListener('visibilitychange', open);
    close();
  };
}
