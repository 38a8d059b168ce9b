// The event reference, fetched once when a filter is first written.

import { ask } from '../api/client';
import type { FieldFacts } from '../api/types';

class KnownFields {
  list = $state.raw<FieldFacts[]>([]);
  #loading: Promise<void> | null = null;

  load(): Promise<void> {
    this.#loading ??= ask<{ fields: FieldFacts[] }>('fields')
      .then((answer) => void (this.list = answer.fields))
      .catch(() => void (this.#loading = null));
    return this.#loading;
  }
}

export const knownFields = new KnownFields();
