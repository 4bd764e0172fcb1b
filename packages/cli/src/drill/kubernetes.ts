/** Creates the drill attempts that use the Kubernetes API server, for sessions with Kubernetes grants. */
import { KUBERNETES_API, KUBERNETES_TARGET } from '@meshpass/identity';
import { KubernetesTokenResponse } from '@meshpass/identity/kubernetes';
import type { Attempt, Verdict } from './attempt.ts';
import { toVerdict } from './call.ts';
import { type FailedConnection, type HeldConnection, held } from './hold-open.ts';
import { brokerVerdict, type DrillSession } from './session.ts';
import { openTunnel, sendAndRead, type TunnelRequest } from './tunnel.ts';

/** An API path that any authenticated caller may read. */
const PATH = '/apis/authentication.k8s.io/v1';

/**
 * Creates two attempts for each Kubernetes grant. One of them requests a new token, and the other calls the API server
 * with the first token.
 */
export function kubernetesAttempts(session: DrillSession): Attempt[] {
  return grantsOf(session).flatMap((grant): Attempt[] => {
    let kept: Promise<string> | undefined;
    return [
      {
        layer: 'Kubernetes token',
        tried: `session token and DPoP key, for a token of ${grant} for the API server`,
        use: () => brokerVerdict(ask(session, grant)),
      },
      {
        layer: 'edge',
        tried: `SVID and token of ${grant} for the API server, a new tunnel to it`,
        use: async () => {
          kept ??= ask(session, grant).then(({ token }) => token);
          const token = await kept.catch((error: Error) => {
            kept = undefined;
            return error;
          });
          if (token instanceof Error) return { verdict: 'unclear', how: 'the broker issued no token' };
          return await present(session, orderFor(session, grant), token);
        },
      },
    ];
  });
}

/** Opens a connection to the API server and keeps it open until the session ends. */
export async function holdKubernetesConnections(
  session: DrillSession,
): Promise<readonly (HeldConnection | FailedConnection)[]> {
  const [grant] = grantsOf(session);
  if (grant === undefined) return [];
  const [layer, tried] = ['edge', 'open connection to the API server of Kubernetes'] as const;
  const tunnel = await openTunnel(session, orderFor(session, grant));
  if (!('socket' in tunnel)) return [{ layer, tried, why: tunnel.edgeCode ?? tunnel.error ?? 'refused' }];
  return [held({ layer }, tunnel, tried, () => 'TLS to the API server was open')];
}

function grantsOf({ kubernetes }: DrillSession): readonly string[] {
  return (kubernetes?.grants ?? []).map(({ grant }) => grant);
}

function orderFor({ mesh, kubernetes }: DrillSession, grant: string): TunnelRequest {
  const ca = kubernetes?.certificate_authority;
  const outside = { name: KUBERNETES_API.host, ...(ca !== undefined && { ca }) };
  return { target: KUBERNETES_TARGET, grant, edge: mesh.edge, alpn: ['http/1.1'], outside };
}

function ask({ client, accessToken }: DrillSession, grant: string) {
  const call = { method: 'POST', path: '/kubernetes/token', accessToken, json: { grant } } as const;
  return client.call(call, KubernetesTokenResponse);
}

async function present(session: DrillSession, order: TunnelRequest, token: string): Promise<Verdict> {
  const opened = await openTunnel(session, order);
  const way = { edge: order.edge! };
  if (!('socket' in opened)) return toVerdict(opened, way);
  try {
    const head = `Host: ${KUBERNETES_API.host}\r\nUser-Agent: meshpass-drill\r\nAccept: application/json\r\n`;
    const answer = await sendAndRead(
      opened.socket,
      `GET ${PATH} HTTP/1.1\r\n${head}Authorization: Bearer ${token}\r\n\r\n`,
    );
    return toVerdict({ stage: 'answer', answer }, way);
  } catch (thrown) {
    return { verdict: 'unclear', how: (thrown as Error).message };
  } finally {
    opened.end();
  }
}
