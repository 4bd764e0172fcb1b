/**
 * Checks whether sessions may reach their targets. The checks are repeated at every step, because a session may have
 * ended in the meantime.
 */
import { MeshpassError } from '@meshpass/identity';
import { type LiveSession, mayReach, type SessionDirectory } from '../directory.ts';
import type { ConnectDestination } from './connect.ts';
import type { GatewayAddress } from './forward.ts';
import { assertCurrent, type Peer } from './peer.ts';

/**
 * Returns the live session to which an SVID belongs.
 * @param now the current time, in Unix milliseconds
 * @throws MeshpassError `tunnel_certificate_untrusted`, `tunnel_directory_stale`, `tunnel_session_unknown`
 */
export function liveSession(directory: SessionDirectory, peer: Peer, now: number): LiveSession {
  assertCurrent(peer, now);
  if (directory.state() !== 'fresh') throw directoryStaleError();
  const session = directory.find(peer.spiffeId);
  if (!session) throw sessionUnknown();
  return session;
}

/**
 * Checks that the session that opened the connection is still live and may reach the target.
 * @param target the `host:port` of the CONNECT request, without the subset
 * @throws MeshpassError as for `liveSession`, or `tunnel_target_not_granted`
 */
export function authorizeTarget(
  directory: SessionDirectory,
  { peer, sessionId, target }: { readonly peer: Peer; readonly sessionId: string; readonly target: string },
  now: number,
): void {
  const session = liveSession(directory, peer, now);
  if (session.id !== sessionId) throw sessionUnknown();
  if (!mayReach(session, peer.spiffeId, target)) {
    throw new MeshpassError(
      'tunnel_target_not_granted',
      `${target} is not granted to this certificate. Run "meshpass status" to list what is.`,
    );
  }
}

/**
 * Returns the address that the edge should dial for a destination.
 * @throws MeshpassError `tunnel_kubernetes_off` if the destination is the API server and this edge has no route to it
 */
export function selectUpstream(
  { gateway, kubernetesApi }: { readonly gateway: GatewayAddress; readonly kubernetesApi: GatewayAddress | undefined },
  { isKubernetes }: ConnectDestination,
): GatewayAddress {
  if (!isKubernetes) return gateway;
  if (kubernetesApi) return kubernetesApi;
  throw new MeshpassError(
    'tunnel_kubernetes_off',
    'This edge does not forward to the Kubernetes API server. Its operator has to set --kubernetes-api.',
  );
}

/** Creates the error for a session directory that is not up to date. */
export function directoryStaleError(): MeshpassError {
  return new MeshpassError(
    'tunnel_directory_stale',
    'The edge has lost contact with its broker and accepts no connections. Try again shortly.',
    { retryAfter: 2 },
  );
}

function sessionUnknown(): MeshpassError {
  return new MeshpassError(
    'tunnel_session_unknown',
    'The certificate does not belong to a live session: the session has ended, or Meshpass did not issue this certificate. Start a new session with "meshpass up".',
  );
}
