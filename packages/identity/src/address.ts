/**
 * Remembers which of a host name's addresses failed last. Node.js tries the addresses in turn when a connection is
 * refused, but starts with the first one on every request. If the first address accepts connections but never responds,
 * it would block every request.
 */
import { type LookupAddress, type LookupOptions, lookup as resolve } from 'node:dns';
import type { LookupFunction } from 'node:net';

export interface AddressLookup {
  /** `lookup` option for requests or agents. */
  readonly lookup: LookupFunction;
  /** Moves this address (as in `socket.remoteAddress`) to the end of later lookup results. */
  readonly failed: (address: string | undefined) => void;
}

type Resolve = (
  host: string,
  options: LookupOptions & { readonly all: true },
  done: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/**
 * Creates a lookup that orders addresses by recent failure.
 * @param system resolver; defaults to `dns.lookup`
 */
export function createAddressLookup(system: Resolve = resolve): AddressLookup {
  let last: string | undefined;
  return {
    lookup: (host, options, done) =>
      system(host, { ...options, all: true }, (error, found) => {
        const addresses = error
          ? []
          : [...found].sort((a, b) => Number(a.address === last) - Number(b.address === last));
        const [first] = addresses;
        if (error || options.all || !first) done(error, addresses);
        else done(null, first.address, first.family);
      }),
    failed: (address) => {
      last = address ?? last;
    },
  };
}
