// One question and its newest answer. The old answer stays until the new one is there, so that nothing jumps.

import { untrack } from 'svelte';
import { ask, Refused, Unreachable, type Said } from './client';

/** Below this nobody notices waiting, and a sign of it would only flicker. */
const NOTICED_MS = 150;

export class Asked<T> {
  answer = $state.raw<T | null>(null);
  refusal = $state.raw<Refused | null>(null);
  /** It takes longer than people take for at once. */
  slow = $state(false);
  #asking: AbortController | null = null;

  /** Asks; an older question is given up. */
  ask(path: string, said: Said = {}): void {
    untrack(() => void this.#ask(path, said));
  }

  async #ask(path: string, said: Said): Promise<void> {
    this.#asking?.abort();
    const asking = new AbortController();
    this.#asking = asking;
    const timer = setTimeout(() => (this.slow = true), NOTICED_MS);
    try {
      const answer = await ask<T>(path, said, asking.signal);
      if (this.#asking === asking) [this.answer, this.refusal] = [answer, null];
    } catch (error) {
      if (this.#asking !== asking) return;
      if (error instanceof Refused) this.refusal = error;
      else if (!(error instanceof Unreachable)) throw error;
    } finally {
      clearTimeout(timer);
      if (this.#asking === asking) {
        this.#asking = null;
        this.slow = false;
      }
    }
  }

  get waiting(): boolean {
    return this.#asking !== null;
  }

  /** Gives up the question and forgets the answer. */
  forget(): void {
    this.#asking?.abort();
    this.#asking = null;
    [this.answer, this.refusal, this.slow] = [null, null, false];
  }
}
