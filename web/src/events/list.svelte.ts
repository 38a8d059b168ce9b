// The events that fit: page after page backwards, and new ones as they come.

import { untrack } from 'svelte';
import { ask, Refused, Unreachable } from '../api/client';
import { listen } from '../api/listen';
import type { Events } from '../api/types';
import type { EventDocument } from '../event/document';
import { merged } from './merge';

const PAGE = 100;
/** Rows kept while new ones come by themselves. */
const LIVE_ROWS = 2000;
/** New rows are put in so often: faster nobody reads. */
const BATCH_MS = 400;
/** Below this nobody notices waiting. */
const NOTICED_MS = 150;

export interface Query {
  since: string;
  until: string;
  q: string;
}

export class EventList {
  rows = $state.raw<EventDocument[]>([]);
  /** New ones that wait until the reader is back at the top. */
  held = $state.raw<EventDocument[]>([]);
  /** New ones that were too many to be sent. */
  skipped = $state(0);
  refusal = $state.raw<Refused | null>(null);
  /** Whether the first page is there. */
  loaded = $state(false);
  slow = $state(false);
  /** Where the search came to, if it did not come to the end of the range. */
  searchedFrom = $state('');
  /** Whether new rows have to wait. */
  holding = false;
  #next: string | null = null;
  #query: Query | null = null;
  #asking: AbortController | null = null;
  #arrived: EventDocument[] = [];

  /** Starts anew with a query; the old rows stay until there are new ones. Returns how to end it. */
  start(query: Query, live: boolean): () => void {
    return untrack(() => {
      this.#query = query;
      this.#arrived = [];
      [this.held, this.skipped, this.loaded] = [[], 0, false];
      if (!live) {
        void this.#first();
        return () => this.#asking?.abort();
      }
      const timer = setInterval(() => this.#putIn(), BATCH_MS);
      const close = listen(
        'events/live',
        { q: query.q },
        {
          on: {
            event: (data) => void this.#arrived.push(data as EventDocument),
            skipped: (data) => (this.skipped += (data as { events: number }).events),
          },
          opened: () => void this.#first(),
        },
      );
      void this.#first();
      return () => {
        clearInterval(timer);
        close();
        this.#asking?.abort();
      };
    });
  }

  /** The page before the oldest row. */
  async more(): Promise<void> {
    if (this.#next === null || this.#asking !== null) return;
    await this.#page({ after: this.#next }, (answer) => (this.rows = merged(this.rows, answer.events)));
  }

  /** Goes on where the search ran out of time. */
  async goOn(): Promise<void> {
    if (this.searchedFrom === '' || this.#asking !== null) return;
    await this.#page({ until: this.searchedFrom }, (answer) => (this.rows = merged(this.rows, answer.events)));
  }

  /** Shows what was held. */
  release(): void {
    this.rows = merged(this.rows, this.held).slice(0, LIVE_ROWS);
    this.held = [];
  }

  get hasMore(): boolean {
    return this.#next !== null;
  }

  async #first(): Promise<void> {
    this.#asking?.abort();
    this.#asking = null;
    await this.#page({}, (answer) => {
      this.rows = answer.events;
      [this.held, this.skipped, this.loaded] = [[], 0, true];
    });
  }

  async #page(changes: Record<string, string>, take: (answer: Events) => void): Promise<void> {
    const asking = new AbortController();
    this.#asking = asking;
    const timer = setTimeout(() => (this.slow = true), NOTICED_MS);
    try {
      const answer = await ask<Events>('events', { ...this.#query, limit: PAGE, ...changes }, asking.signal);
      if (this.#asking !== asking) return;
      take(answer);
      this.#next = answer.next;
      this.searchedFrom = answer.complete ? '' : answer.searched_from;
      this.refusal = null;
    } catch (error) {
      if (this.#asking !== asking) return;
      if (error instanceof Refused) [this.refusal, this.rows, this.loaded] = [error, [], true];
      else if (!(error instanceof Unreachable)) throw error;
    } finally {
      clearTimeout(timer);
      if (this.#asking === asking) [this.#asking, this.slow] = [null, false];
    }
  }

  #putIn(): void {
    if (this.#arrived.length === 0 || !this.loaded) return;
    const arrived = this.#arrived;
    this.#arrived = [];
    if (this.holding) this.held = merged(this.held, arrived).slice(0, LIVE_ROWS);
    else {
      const rows = merged(this.rows, arrived);
      // What is cut off here is fetched again when one scrolls there.
      if (rows.length > LIVE_ROWS) this.#next = null;
      this.rows = rows.slice(0, LIVE_ROWS);
    }
  }
}
