// What a reader has set for this browser: colours and time zone. Kept in it, never sent.

import type { Zone } from '../text/times';

export type Theme = 'auto' | 'light' | 'dark';

function kept<T extends string>(name: string, known: readonly T[], otherwise: T): T {
  try {
    const value = localStorage.getItem(name);
    return known.find((one) => one === value) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function keep(name: string, value: string) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // A browser that keeps nothing still shows everything.
  }
}

class Settings {
  theme = $state<Theme>(kept('theme', ['auto', 'light', 'dark'], 'auto'));
  zone = $state<Zone>(kept('zone', ['local', 'utc'], 'local'));
  /** Rises when colours change, so that what is drawn is drawn anew. */
  colours = $state(0);

  constructor() {
    document.documentElement.dataset.theme = this.theme;
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => (this.colours += 1));
  }

  setTheme(theme: Theme) {
    this.theme = theme;
    document.documentElement.dataset.theme = theme;
    this.colours += 1;
    keep('theme', theme);
  }

  setZone(zone: Zone) {
    this.zone = zone;
    keep('zone', zone);
  }
}

export const settings = new Settings();
