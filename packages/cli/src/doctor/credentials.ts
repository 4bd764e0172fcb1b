/** Credentials: those of the agent that runs, or those of a session that is opened for this and ended. */
import { randomUUID } from 'node:crypto';
import type { AgentStatus } from '@meshpass/agent/control/status';
import { BrokerClient } from '@meshpass/agent/session/broker-client';
import { type Credentials, enrol, newDpopKey } from '@meshpass/agent/session/enrol';
import type { Proof } from '@meshpass/identity/attestation';
import { MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import { type Finding, failed } from './line.ts';
import { nextAfter, resolve, shakeHands } from './network.ts';
import type { DoctorOptions } from './options.ts';

export interface Enrolled {
  /** Names of the grants; absent where no session opened. */
  readonly opened?: readonly string[];
  /** Where a challenge was answered. */
  readonly port?: number;
  readonly error?: MeshpassError;
  /** What was issued, in words. */
  readonly credentials?: string;
  readonly edge?: Finding<'edge'>;
}

/** Opens a session, has all of its credentials, shows one to the edge, and ends it. Never throws. */
export async function enrolOnce({ config, ca, now }: DoctorOptions, proof: Proof): Promise<Enrolled> {
  const { broker: url, clusterDomain, presencePort } = config;
  let port: number | undefined;
  let token: string | undefined;
  const client = new BrokerClient({
    ...{ url, key: newDpopKey(), ca, now, randomId: randomUUID, clusterDomain, presencePort },
    onChallenge: (answeredOn) => {
      port = answeredOn;
    },
  });
  const seen = () => (port !== undefined ? { port } : {});
  try {
    const { credentials } = await enrol(client, proof, now, (accessToken) => {
      token = accessToken;
    });
    const [svid] = credentials.svids.values();
    const edge = await lookAtEdge(credentials.mesh.edge, ca, svid && { cert: svid.chain, key: svid.privateKey });
    await client.goodbye(credentials.accessToken);
    return { opened: credentials.session.grants, ...seen(), credentials: issued(credentials), edge };
  } catch (thrown) {
    const error = toMeshpassError(thrown);
    return { error, ...seen(), ...(token !== undefined && { opened: [] }) };
  } finally {
    client.close();
  }
}

function issued({ svids }: Credentials): string {
  return `istiod signed ${svids.size === 1 ? 'a certificate' : `${svids.size} certificates`}, and the broker a token.`;
}

/** @param client what the edge is shown; absent: only the edge's own certificate is looked at */
export async function lookAtEdge(
  { host, port }: { readonly host: string; readonly port: number },
  ca: string | undefined,
  client?: { readonly cert: string; readonly key: string },
): Promise<Finding<'edge'>> {
  try {
    await resolve(host);
    const shaken = await shakeHands({ host, port, ca, ...(client && { client }) });
    if (!shaken) throw new MeshpassError('agent_edge_unreachable', `The edge ${host}:${port} cannot be reached.`);
    return {
      check: 'edge',
      state: 'ok',
      says: `${host}:${port} answers (${shaken.protocol})${client ? ', and takes the certificate' : ''}.`,
    };
  } catch (thrown) {
    const error = toMeshpassError(thrown);
    return failed('edge', error, {
      seen: `TLS handshake with ${host}:${port}`,
      command: `openssl s_client -connect ${host}:${port} -servername ${host} -tls1_3 </dev/null`,
      next: nextAfter(
        error,
        'Ask the platform team whether the edge runs, and that this workspace may connect to it without a proxy between.',
      ),
    });
  }
}

/** What an agent that runs says of its credentials and of its edge. */
export function lookAtAgent(status: AgentStatus, now: number): readonly [Finding<'credentials'>, Finding<'edge'>] {
  return [credentialsOf(status, now), edgeOf(status)];
}

function credentialsOf({ credentials, broker }: AgentStatus, now: number): Finding<'credentials'> {
  const ends = [...credentials.svids.map(({ expiresAt }) => expiresAt), credentials.identityTokenExpiresAt];
  const left = Math.round((Math.min(...ends) - now) / 1000);
  const failures = Object.entries(broker.failures).map(([task, why]) => `${task}: ${why}`);
  const line = { check: 'credentials', seen: 'meshpass status --output json' } as const;
  if (left <= 0)
    return {
      ...{ ...line, state: 'failed', code: 'agent_credentials_expired', command: 'meshpass down && meshpass up' },
      says: `A credential of the agent has expired and was not renewed${failures.length > 0 ? ` (${failures.join('; ')})` : ''}.`,
      next: 'See what keeps it from being renewed, and start the agent anew.',
    };
  if (failures.length > 0)
    return {
      ...line,
      state: 'warning',
      says: `The first one expires in ${left} s, and is not renewed: ${failures.join('; ')}.`,
    };
  return { ...line, state: 'ok', says: `They renew by themselves; the first one is good for ${left} s more.` };
}

function edgeOf({ lease, notes }: AgentStatus): Finding<'edge'> {
  const line = { check: 'edge', seen: 'meshpass status --output json' } as const;
  if (lease.by === 'channel') return { ...line, state: 'ok', says: 'The agent has a control channel to an edge.' };
  const why = lease.refused ? ` The edge said ${lease.refused.code}.` : notes.length > 0 ? ` ${notes[0]}` : '';
  return {
    ...{ ...line, state: 'warning' },
    says: `No edge renews the lease: the agent asks the broker itself.${why}`,
    next: 'Calls may fail, too. Check that this workspace may connect to the edge.',
  };
}
