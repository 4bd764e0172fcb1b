/** The SVIDs as TLS contexts, made once per renewal. */
import { MeshpassError } from '@meshpass/identity/error';
import type { Credentials } from './enrol.ts';
import { expired } from './keep.ts';
import { tlsContext } from './secure-context.ts';
import type { TunnelIdentity } from './tunnel.ts';

export interface TunnelIdentitiesOptions {
  readonly credentials: () => Credentials;
  /** PEM of the roots for the edge; undefined: Node's own. */
  readonly publicRoots: string | undefined;
  readonly now: () => number;
}

export class TunnelIdentities {
  readonly #options: TunnelIdentitiesOptions;
  readonly #made = new Map<string, TunnelIdentity>();
  #generation = 0;

  constructor(options: TunnelIdentitiesOptions) {
    this.#options = options;
  }

  /** SVIDs or roots are new: what was made of the old ones is not used again. */
  renewed(): void {
    this.#generation += 1;
    this.#made.clear();
  }

  /** @throws MeshpassError agent_credentials_expired */
  of(grant: string): TunnelIdentity {
    const { svids, mesh } = this.#options.credentials();
    const svid = svids.get(grant);
    if (!svid) throw new MeshpassError('agent_credentials_expired', `There is no certificate for grant ${grant} yet.`);
    if (svid.expiresAt <= this.#options.now()) throw expired(`certificate of grant ${grant}`);
    let made = this.#made.get(grant);
    if (!made) {
      const { chain, privateKey } = svid;
      const roots = this.#options.publicRoots;
      made = {
        generation: this.#generation,
        madeAt: performance.now(),
        outer: tlsContext({ chain, privateKey, roots: roots === undefined ? undefined : [roots] }),
        inner: tlsContext({ chain, privateKey, roots: mesh.roots }),
      };
      this.#made.set(grant, made);
    }
    return made;
  }
}
