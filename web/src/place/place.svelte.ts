// Where one is, in step with the address bar.

import { readAddress, writeAddress, type Address } from './address';

class Place {
  address = $state.raw<Address>(readAddress(location.hash));

  constructor() {
    addEventListener('hashchange', () => (this.address = readAddress(location.hash)));
  }

  /** The address with some changes, for links. */
  link(changes: Partial<Address>): string {
    return writeAddress({ ...this.address, ...changes });
  }

  /** Goes there; the browser's "back" returns, unless it was done quietly. */
  go(changes: Partial<Address>, quietly = false): void {
    const address = { ...this.address, ...changes };
    const written = writeAddress(address);
    if (written === writeAddress(this.address)) return;
    history[quietly ? 'replaceState' : 'pushState'](null, '', written);
    this.address = address;
  }

  /** New events can come by themselves only where the range reaches up to now. */
  get canBeLive(): boolean {
    return this.address.until === '';
  }

  get isLive(): boolean {
    return this.address.live && this.canBeLive;
  }

  /** The filter as the API takes it. */
  get filter(): { since: string; until: string; q: string } {
    const { since, until, q } = this.address;
    return { since, until, q };
  }
}

export const place = new Place();
