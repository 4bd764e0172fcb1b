/** DPoP proofs with false claims. Lab only. */
import { randomUUID } from 'node:crypto';
import { generateDpopKey } from '@meshpass/agent/session/enrol';
import { createDpopProof, type DpopKey } from '@meshpass/identity';

/** Overrides of a DPoP proof. */
export interface InvalidProof {
  readonly omit?: boolean;
  readonly method?: string;
  readonly url?: string;
  readonly iat?: number;
  readonly jti?: string;
  readonly otherKey?: boolean;
  readonly accessToken?: string | null;
}

/** Creates the DPoP proof of a request. If it returns undefined, the request is sent without one. */
export type DpopProver = (request: {
  readonly key: DpopKey;
  readonly method: string;
  readonly url: string;
  readonly accessToken: string | undefined;
}) => string | undefined;

export function invalidProof(faults: InvalidProof = {}): DpopProver {
  return ({ key, method, url, accessToken }) => {
    if (faults.omit) return undefined;
    const bound = faults.accessToken === null ? undefined : (faults.accessToken ?? accessToken);
    return createDpopProof({
      key: faults.otherKey ? generateDpopKey() : key,
      method: faults.method ?? method,
      url: faults.url ?? url,
      now: faults.iat ?? Math.floor(Date.now() / 1000),
      jti: faults.jti ?? randomUUID(),
      ...(bound !== undefined && { accessToken: bound }),
    });
  };
}
