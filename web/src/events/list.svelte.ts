// The events that fit: page after page backwards, and new ones as they come.

import { untrack } from 'svelte';
import { ask, Refused, Unreachable } from '../api/client';
import { listen } from '../api/listen';
import type { Events } from '../api/types';
import type { EventDocument } from '../event/document';
import { justAfter } from '../text/times';
import { merged } from './merge';

const PAGE = 100;
/** Rows kept while new ones come by themselves. */
const LIVE_ROWS = 2000;
/** New rows are put in so often: faster nobody reads. */
const BATCH_MS = 400;

export interface Query {
  since: string;
  until: string;
  q: string;
}

export class EventList {
  rows = $state.raw<EventDocument[]>([]);
  /** New ones that wait until the reader is back at the top. */
  held = $state.raw<EventDocument[]>([]);
  /** There are new ones that are neither shown nor held. */
  isBehind = $state(false);
  /** New ones that were too many to be sent. */
  skipped = $state(0);
  refusal = $state.raw<Refused | null>(null);
  /** Whether the first page is there. */
  loaded = $state(false);
  /** Where the search came to, if it did not come to the end of the range. */
  searchedFrom = $state('');
  /** Whether new rows have to wait. */
  holding = false;
  /** What asks for the page before the oldest row. */
  #older: Record<string, string> | null = null;
  #query: Query | null = null;
  #asking: AbortController | null = null;
  #arrived: EventDocument[] = [];

  /** Starts anew with a query; the old rows stay until there are new ones. Returns how to end it. */
  start(query: Query, live: boolean): () => void {
    return untrack(() => {
      this.#query = query;
      this.#arrived = [];
      this.holding = false;
      [this.held, this.skipped, this.loaded, this.isBehind] = [[], 0, false, false];
      if (!live) {
        void this.reload();
        return () => this.#asking?.abort();
      }
      const timer = setInterval(() => this.#putIn(), BATCH_MS);
      // First the ear, then the page: nothing is missed in between.
      const close = listen(
        'events/live',
        { q: query.q },
        {
          on: {
            event: (data) => void this.#arrived.push(data as EventDocument),
            skipped: (data) => (this.skipped += (data as { events: number }).events),
          },
          opened: () => {
            if (this.holding) this.isBehind = true;
            else void this.reload();
          },
          failed: () => void this.#afterFailure(close),
        },
      );
      return () => {
        clearInterval(timer);
        close();
        this.#asking?.abort();
      };
    });
  }

  /** The page before the oldest row. */
  async more(): Promise<void> {
    if (this.#older === null || this.#asking !== null) return;
    await this.#page(this.#older, (answer) => (this.rows = merged(this.rows, answer.events)));
  }

  /** Goes on where the search ran out of time. */
  async goOn(): Promise<void> {
    if (this.searchedFrom === '' || this.#asking !== null) return;
    await this.#page({ until: this.searchedFrom }, (answer) => (this.rows = merged(this.rows, answer.events)));
  }

  /** Shows what was held. */
  release(): void {
    if (this.isBehind) return void this.reload();
    this.#show(this.held);
    this.held = [];
  }

  /** The first page anew. */
  async reload(): Promise<void> {
    this.#asking?.abort();
    this.#asking = null;
    await this.#page({}, (answer) => {
      this.rows = answer.events;
      [this.held, this.skipped, this.loaded, this.isBehind] = [[], 0, true, false];
    });
  }

  /** A refused filter will not get better: then the listening ends. */
  async #afterFailure(close: () => void): Promise<void> {
    await this.reload();
    if (this.refusal !== null) close();
  }

  async #page(changes: Record<string, string>, take: (answer: Events) => void): Promise<void> {
    const asking = new AbortController();
    this.#asking = asking;
    try {
      const answer = await ask<Events>('events', { ...this.#query, limit: PAGE, ...changes }, asking.signal);
      if (this.#asking !== asking) return;
      take(answer);
      this.#older = answer.next === null ? null : { ...changes, after: answer.next };
      this.searchedFrom = answer.complete ? '' : answer.searched_from;
      this.refusal = null;
    } catch (error) {
      if (this.#asking !== asking) return;
      if (error instanceof Refused) [this.refusal, this.rows, this.loaded] = [error, [], true];
      else if (!(error instanceof Unreachable)) throw error;
    } finally {
      if (this.#asking === asking) this.#asking = null;
    }
  }

  #putIn(): void {
    if (this.#arrived.length === 0 || !this.loaded) return;
    const arrived = this.#arrived;
    this.#arrived = [];
    if (!this.holding) this.#show(arrived);
    else if (!this.isBehind) {
      this.held = merged(this.held, arrived);
      if (this.held.length > LIVE_ROWS) [this.held, this.isBehind] = [[], true];
    }
  }

  #show(fresh: EventDocument[]): void {
    const rows = merged(this.rows, fresh);
    this.rows = rows.slice(0, LIVE_ROWS);
    // What is cut off is fetched again when one scrolls there.
    if (rows.length > LIVE_ROWS) this.#older = { until: justAfter(this.rows.at(-1)!['@timestamp']) };
  }
}
