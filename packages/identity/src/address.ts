/**
 * A name with several addresses, of which one answers at a time. Node.js tries them in turn when a connection is refused, but
 * begins anew with the first one each time: whoever accepts connections and then says nothing would be asked for ever.
 */
import { type LookupAddress, type LookupOptions, lookup as resolve } from 'node:dns';
import type { LookupFunction } from 'node:net';

export interface Addresses {
  /** For `lookup` of a request or an agent. */
  readonly lookup: LookupFunction;
  /** From now on this address (as in `socket.remoteAddress`) is tried last. */
  readonly failed: (address: string | undefined) => void;
}

type Resolve = (
  host: string,
  options: LookupOptions & { readonly all: true },
  done: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/** @param system resolves names; dns.lookup where absent */
export function rememberAddresses(system: Resolve = resolve): Addresses {
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
