/** Where programs reach the API server under each grant: a loopback address that follows from the grant's name. */
import { sha256Hex } from '@meshpass/identity/hash';
import type { KubernetesAccess } from '@meshpass/identity/kubernetes/wire';
import type { Credentials } from '../session/enrol.ts';

export interface KubernetesGrant {
  readonly grant: string;
  readonly namespaces: KubernetesAccess['grants'][number]['namespaces'];
  readonly host: string;
  readonly port: number;
}

/** As API servers have it; not 443, which needs a right that an agent may not have. */
const PORT = 6443;
/** 127.63.0.0/16: beside the addresses of services, which are in 127.64.0.0/10. */
const ADDRESSES = 65_536;

/** Those that have a certificate, in the order of the session; no two have one address. */
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
