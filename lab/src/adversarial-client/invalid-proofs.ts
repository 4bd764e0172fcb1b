/** DPoP proofs that say something else than the truth. Lab only. */
import { randomUUID } from 'node:crypto';
import { newDpopKey, type Prove } from '@meshpass/cli/drill/credentials';
import { createDpopProof } from '@meshpass/identity/dpop';

/** What a DPoP proof says instead of the truth. */
export interface DpopLies {
  readonly omit?: boolean;
  readonly method?: string;
  readonly url?: string;
  readonly iat?: number;
  readonly jti?: string;
  readonly otherKey?: boolean;
  readonly accessToken?: string | null;
}

export function lying(lies: DpopLies = {}): Prove {
  return ({ key, method, url, accessToken }) => {
    if (lies.omit) return undefined;
    const bound = lies.accessToken === null ? undefined : (lies.accessToken ?? accessToken);
    return createDpopProof({
      key: lies.otherKey ? newDpopKey() : key,
      method: lies.method ?? method,
      url: lies.url ?? url,
      now: lies.iat ?? Math.floor(Date.now() / 1000),
      jti: lies.jti ?? randomUUID(),
      ...(bound !== undefined && { accessToken: bound }),
    });
  };
}
