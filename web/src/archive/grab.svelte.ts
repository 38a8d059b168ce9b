// One grab: packets out of the archive into a file, with progress, and cancellable.

import { addressOf, Refused, request, Unreachable, type Said } from '../api/client';

/** So much is held by the page at most; more the browser downloads by itself, without progress here. */
export const HELD_MAX = 256e6;

export class Grab {
  state = $state<'idle' | 'running' | 'done' | 'cancelled' | 'failed'>('idle');
  received = $state(0);
  startedAt = $state(0);
  endedAt = $state(0);
  problem = $state('');
  #asking: AbortController | null = null;

  async run(said: Said, name: string): Promise<void> {
    this.cancel();
    const asking = new AbortController();
    this.#asking = asking;
    [this.state, this.received, this.startedAt, this.problem] = ['running', 0, Date.now(), ''];
    try {
      const response = await request('packets', said, { signal: asking.signal });
      const pieces: Uint8Array<ArrayBuffer>[] = [];
      const reader = response.body!.getReader();
      for (let read = await reader.read(); !read.done; read = await reader.read()) {
        pieces.push(read.value);
        this.received += read.value.length;
        if (this.received > HELD_MAX) throw new Refused(0, 'there is more than the page can hold', 'use the command below, or narrow');
      }
      if (this.#asking !== asking) return;
      save(new Blob(pieces, { type: response.headers.get('content-type') ?? '' }), name);
      this.state = 'done';
    } catch (error) {
      if (this.#asking !== asking) return;
      asking.abort();
      this.state = 'failed';
      this.problem = error instanceof Refused || error instanceof Unreachable ? error.message + (error instanceof Refused && error.hint ? `; ${error.hint}` : '') : 'the connection broke off; the file would not be whole';
    }
    this.endedAt = Date.now();
  }

  cancel(): void {
    if (this.state !== 'running') return;
    this.#asking?.abort();
    this.#asking = null;
    [this.state, this.endedAt] = ['cancelled', Date.now()];
  }
}

/** For what is too large to hold: the browser's own download. */
export function downloadByBrowser(said: Said, name: string): void {
  follow(addressOf('packets', said), name);
}

function save(blob: Blob, name: string): void {
  const address = URL.createObjectURL(blob);
  follow(address, name);
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

function follow(address: string, name: string): void {
  const link = document.createElement('a');
  link.href = address;
  link.download = name;
  link.click();
}
