/**
 * Remembers which address of a host name failed last. Node.js tries the next address if a connection is refused, but
 * every request starts with the first one. Without this module, a first address that accepts connections but never
 * responds would stall every request.
 */
import { type LookupAddress, type LookupOptions, lookup as resolve } from 'node:dns';
import type { LookupFunction } from 'node:net';

export interface AddressLookup {
  /** The function to pass as the `lookup` option of requests or agents. */
  readonly lookup: LookupFunction;
  /** Moves an address (as in `socket.remoteAddress`) to the end of all later lookup results. */
  readonly failed: (address: string | undefined) => void;
}

type Resolve = (
  host: string,
  options: LookupOptions & { readonly all: true },
  done: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/**
 * Creates a lookup function that moves the address that failed last to the end.
 * @param system the resolver. Defaults to `dns.lookup`
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
