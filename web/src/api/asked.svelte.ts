// One question and its newest answer. The old answer stays until the new one is there, so that nothing jumps.

import { untrack } from 'svelte';
import { ask, Refused, Unreachable, type Said } from './client';

export class Asked<T> {
  answer = $state.raw<T | null>(null);
  refusal = $state.raw<Refused | null>(null);
  #asking: AbortController | null = null;

  /** Asks; an older question is given up. */
  ask(path: string, said: Said = {}): void {
    untrack(() => void this.#ask(path, said));
  }

  async #ask(path: string, said: Said): Promise<void> {
    this.#asking?.abort();
    const asking = new AbortController();
    this.#asking = asking;
    try {
      const answer = await ask<T>(path, said, asking.signal);
      if (this.#asking === asking) [this.answer, this.refusal] = [answer, null];
    } catch (error) {
      if (this.#asking !== asking) return;
      if (error instanceof Refused) this.refusal = error;
      else if (!(error instanceof Unreachable)) throw error;
    } finally {
      if (this.#asking === asking) this.#asking = null;
    }
  }

  get waiting(): boolean {
    return this.#asking !== null;
  }

  /** Gives up the question and forgets the answer. */
  forget(): void {
    this.#asking?.abort();
    this.#asking = null;
    [this.answer, this.refusal] = [null, null];
  }
}
