/** Who reaches an endpoint with a call: of the identities that the mesh knows, and of one of each kind that it does not. */
import type { Call, Decision, HttpCall } from './call.ts';
import { knownPeers, knownTokens } from './identities.ts';
import { callOf } from './identity.ts';
import type { MeshView } from './mesh-view.ts';
import { type Endpoint, findEndpoints } from './target.ts';

export interface Reacher {
  readonly endpoint: Endpoint;
  readonly who: string;
  /** Absent: no token is needed. */
  readonly token?: string;
  readonly decision: Decision;
}

/**
 * @param http absent: bytes that are no HTTP
 * @returns whoever is allowed; those who need no token are not listed with one
 * @throws MeshpassError `usage` for a target that is not there
 */
export function whoCan(
  view: MeshView,
  target: string,
  http: (Omit<HttpCall, 'authority'> & { readonly authority?: string }) | undefined,
  more: Partial<Call> = {},
): readonly Reacher[] {
  return findEndpoints(view, target).flatMap((endpoint) => {
    const full = http && { ...http, authority: http.authority ?? endpoint.authority };
    const tokens = full ? knownTokens(endpoint) : [];
    return knownPeers(view).flatMap((peer): Reacher[] => {
      const bare = endpoint.guard.decide(callOf(endpoint, peer, full, more));
      if (bare.allowed) return [{ endpoint, who: peer.name, decision: bare }];
      return tokens.flatMap(({ name, claims }) => {
        const decision = endpoint.guard.decide(callOf(endpoint, { ...peer, claims }, full, more));
        return decision.allowed ? [{ endpoint, who: peer.name, token: name, decision }] : [];
      });
    });
  });
}
