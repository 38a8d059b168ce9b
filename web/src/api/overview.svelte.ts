// The overview, once a second, for the whole page: the live view, the list of sources, the state in the header.

import { ask } from './client';
import { listen } from './listen';
import type { Chain, Overview } from './types';

/** Seconds over which a rate is taken. */
const RATE_SECONDS = 5;

class Watched {
  now = $state.raw<Overview | null>(null);
  #before: Overview[] = [];

  start(): () => void {
    return listen(
      'overview/live',
      {},
      {
        on: { overview: (data) => this.#take(data as Overview) },
        opened: () => (this.#before = []),
        // A stream does not say why it is refused; a question does.
        failed: () => void ask('overview').catch(() => {}),
      },
    );
  }

  #take(overview: Overview) {
    this.#before = [...this.#before, overview].slice(-RATE_SECONDS - 1);
    this.now = overview;
  }

  /** How fast a count of the chain rises, per second. */
  rate(count: (chain: Chain) => number): number {
    const [first, last] = [this.#before[0], this.now];
    if (!first || !last || first === last) return 0;
    const seconds = (Date.parse(last.time) - Date.parse(first.time)) / 1000;
    return seconds > 0 ? Math.max(0, (count(last.chain) - count(first.chain)) / seconds) : 0;
  }
}

export const watched = new Watched();
