/**
 * Assigns a loopback address for the Kubernetes API server to each grant. The address is derived from the grant's name.
 */
import { sha256Hex } from '@meshpass/identity';
import type { KubernetesAccess } from '@meshpass/identity/kubernetes';
import type { Credentials } from '../session/enrol.ts';

export interface KubernetesGrant {
  readonly grant: string;
  readonly namespaces: KubernetesAccess['grants'][number]['namespaces'];
  readonly host: string;
  readonly port: number;
}

/** The usual port of an API server. Listening on port 443 would require a privilege that the agent may not have. */
const PORT = 6443;
/**
 * The number of addresses in 127.63.0.0/16. This network is adjacent to 127.64.0.0/10, which contains the addresses of
 * services.
 */
const ADDRESSES = 65_536;

/**
 * Returns the grants that have roles and a certificate, in the order of the session. Each grant has a different
 * address.
 */
export function kubernetesGrants({ kubernetes, svids, session }: Credentials): readonly KubernetesGrant[] {
  const taken = new Set<number>();
  return (kubernetes?.grants ?? [])
    .filter(({ grant }) => svids.has(grant) && session.grants.includes(grant))
    .map(({ grant, namespaces }) => {
      let index = Number.parseInt(sha256Hex(grant).slice(0, 4), 16);
      while (taken.has(index)) index = (index + 1) % ADDRESSES;
      taken.add(index);
      return { grant, namespaces, host: `127.63.${index >> 8}.${index & 255}`, port: PORT };
    });
}
