// Whether the console answers, and whether it wants a token first. One for the whole page.

class Connection {
  /** When it stopped answering, milliseconds; none while it answers. */
  lostSince = $state<number | null>(null);
  tokenNeeded = $state(false);
  /** Rises each time it answers again: whoever shows something asks anew. */
  renewed = $state(0);

  worked() {
    if (this.lostSince === null) return;
    this.lostSince = null;
    this.renewed += 1;
  }

  failed() {
    this.lostSince ??= Date.now();
  }

  refusedWithoutToken() {
    this.tokenNeeded = true;
  }

  tokenAccepted() {
    this.tokenNeeded = false;
    this.lostSince = null;
    this.renewed += 1;
  }
}

export const connection = new Connection();
