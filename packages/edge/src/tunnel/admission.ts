/** Who is let in, and to what: decided anew at every step, for a session may end between two of them. */
import { MeshpassError } from '@meshpass/identity';
import { type Directory, type LiveSession, mayReach } from '../directory.ts';
import type { Destination } from './connect.ts';
import type { Gateway } from './forward.ts';
import { assertCurrent, type Peer } from './peer.ts';

/**
 * The live session of an SVID.
 * @param now Unix ms
 * @throws MeshpassError `tunnel_certificate_untrusted`, `tunnel_directory_stale`, `tunnel_session_unknown`
 */
export function liveSession(directory: Directory, peer: Peer, now: number): LiveSession {
  assertCurrent(peer, now);
  if (directory.state() !== 'fresh') throw directoryStale();
  const session = directory.find(peer.spiffeId);
  if (!session) throw sessionUnknown();
  return session;
}

/**
 * Checks that the session with which the connection began is live still, and granted that target.
 * @param target `host:port` that CONNECT asks for, whatever the subset
 * @throws MeshpassError as `liveSession` does, and `tunnel_target_not_granted`
 */
export function authorizeTarget(
  directory: Directory,
  { peer, sessionId, target }: { readonly peer: Peer; readonly sessionId: string; readonly target: string },
  now: number,
): void {
  const session = liveSession(directory, peer, now);
  if (session.id !== sessionId) throw sessionUnknown();
  if (!mayReach(session, peer.spiffeId, target)) {
    throw new MeshpassError(
      'tunnel_target_not_granted',
      `${target} is not granted to this certificate. "meshpass status" lists what is.`,
    );
  }
}

/** @throws MeshpassError `tunnel_kubernetes_off` where the API server is asked for, and this edge leads to none */
export function assertLeads({ isKubernetes }: Destination, kubernetesApi: Gateway | undefined): void {
  if (!isKubernetes || kubernetesApi) return;
  throw new MeshpassError(
    'tunnel_kubernetes_off',
    'This edge does not lead to the API server of Kubernetes: its operator has to set --kubernetes-api.',
  );
}

/** Where a destination is that assertLeads has let pass. */
export function upstreamOf(
  { gateway, kubernetesApi }: { readonly gateway: Gateway; readonly kubernetesApi: Gateway | undefined },
  { isKubernetes }: Destination,
): Gateway {
  return (isKubernetes && kubernetesApi) || gateway;
}

export function directoryStale(): MeshpassError {
  return new MeshpassError(
    'tunnel_directory_stale',
    'The edge does not hear from its broker and accepts no connections: try again shortly.',
    { retryAfter: 2 },
  );
}

function sessionUnknown(): MeshpassError {
  return new MeshpassError(
    'tunnel_session_unknown',
    'The certificate belongs to no live session: the session has ended, or Meshpass did not issue this certificate. Start a new session with "meshpass up".',
  );
}
