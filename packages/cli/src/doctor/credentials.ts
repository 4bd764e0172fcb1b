/** Checks the credentials of the running agent or, if no agent is running, of a temporary session. */
import { randomUUID } from 'node:crypto';
import type { AgentConfig } from '@meshpass/agent/control/config';
import type { AgentStatus } from '@meshpass/agent/control/status';
import { BrokerClient } from '@meshpass/agent/session/broker-client';
import type { HostEnvironment } from '@meshpass/agent/session/discover';
import { type Credentials, enrol, generateDpopKey } from '@meshpass/agent/session/enrol';
import type { Proof } from '@meshpass/identity/attestation';
import { MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import { type Finding, failedFinding, ok, skippedFinding, warningFinding } from '../diagnosis/finding.ts';
import { performTlsHandshake, resolveHost, tlsAdviceFor } from '../diagnosis/tls.ts';

export interface DoctorOptions {
  readonly config: AgentConfig;
  /** The CA of the broker and the edge, in PEM format. */
  readonly ca: string | undefined;
  readonly surroundings: HostEnvironment;
  /** Returns the current time in Unix milliseconds. */
  readonly now: () => number;
}

/**
 * Opens a session, checks it and its credentials, and ends it. The check presents one of the certificates to the edge.
 * Never throws.
 */
export async function checkEnrolment(
  { config, ca, now }: DoctorOptions,
  proof: Proof,
): Promise<readonly Finding<'presence' | 'session' | 'credentials' | 'edge'>[]> {
  const { broker: url, clusterDomain, presencePort } = config;
  let presence = skippedFinding('presence', 'The broker did not request it.');
  let session = skippedFinding('session', 'Not reached.');
  let credentials = skippedFinding('credentials', 'Not reached.');
  let edge = skippedFinding('edge', 'Not reached.');
  const opened = (grants: number) => ok('session', `Opened a session and ended it again (grants: ${grants}).`);
  const client = new BrokerClient({
    url,
    key: generateDpopKey(),
    ca,
    now,
    randomId: randomUUID,
    clusterDomain,
    presencePort,
    onChallenge: (port) => {
      presence = ok('presence', `The broker received this Codespace's answer on port ${port}.`);
    },
  });
  try {
    const enrolled = await enrol(client, proof, now, () => {
      session = opened(0);
    });
    const [svid] = enrolled.svids.values();
    const shown = await checkEdge(enrolled.mesh.edge, ca, svid && { cert: svid.chain, key: svid.privateKey });
    await client.goodbye(enrolled.accessToken);
    session = opened(enrolled.session.grants.length);
    credentials = ok('credentials', issued(enrolled));
    edge = shown;
  } catch (thrown) {
    const error = toMeshpassError(thrown);
    if (session.state === 'ok') credentials = failedFinding('credentials', error);
    else if (error.code.startsWith('presence_')) presence = failedFinding('presence', error);
    else session = failedFinding('session', error);
  } finally {
    client.close();
  }
  return [presence, session, credentials, edge];
}

function issued({ svids }: Credentials): string {
  return `istiod signed ${svids.size === 1 ? 'a certificate' : `${svids.size} certificates`}; the broker signed a token.`;
}

/**
 * Checks that the edge can be reached and presents a trusted certificate.
 * @param client the client certificate to present. If it is omitted, only the edge's own certificate is checked
 */
export async function checkEdge(
  { host, port }: { readonly host: string; readonly port: number },
  ca: string | undefined,
  client?: { readonly cert: string; readonly key: string },
): Promise<Finding<'edge'>> {
  try {
    await resolveHost(host);
    const shaken = await performTlsHandshake({ host, port, ca, ...(client && { client }) });
    if (!shaken) throw new MeshpassError('agent_edge_unreachable', `Cannot reach the edge at ${host}:${port}.`);
    return ok('edge', `${host}:${port} responds (${shaken.protocol})${client ? ' and accepts the certificate' : ''}.`);
  } catch (thrown) {
    const error = toMeshpassError(thrown);
    return failedFinding('edge', error, {
      seen: `TLS handshake with ${host}:${port}`,
      command: `openssl s_client -connect ${host}:${port} -servername ${host} -tls1_3 </dev/null`,
      next: tlsAdviceFor(
        error,
        'Ask the platform team to check that the edge is running, and that this workspace can connect to it without a proxy.',
      ),
    });
  }
}

/** Derives findings about the credentials and the edge from the status of the running agent. */
export function checkAgentStatus(status: AgentStatus, now: number): readonly [Finding<'credentials'>, Finding<'edge'>] {
  return [credentialsOf(status, now), edgeOf(status)];
}

const STATUS = 'meshpass status --output json';

function credentialsOf({ credentials, broker }: AgentStatus, now: number): Finding<'credentials'> {
  const ends = [...credentials.svids.map(({ expiresAt }) => expiresAt), credentials.identityTokenExpiresAt];
  const left = Math.round((Math.min(...ends) - now) / 1000);
  const failures = Object.entries(broker.failures).map(([task, why]) => `${task}: ${why}`);
  if (left <= 0)
    return {
      check: 'credentials',
      state: 'failed',
      code: 'agent_credentials_expired',
      seen: STATUS,
      command: 'meshpass down && meshpass up',
      says: `A credential of the agent has expired and was not renewed${failures.length > 0 ? ` (${failures.join('; ')})` : ''}.`,
      next: 'Fix what prevents the renewal, then restart the agent.',
    };
  if (failures.length > 0)
    return warningFinding(
      'credentials',
      `The first credential expires in ${left} s, and its renewal is failing: ${failures.join('; ')}.`,
      { seen: STATUS },
    );
  return ok('credentials', `The agent renews its credentials. The first one is valid for another ${left} s.`, STATUS);
}

function edgeOf({ lease, notes }: AgentStatus): Finding<'edge'> {
  if (lease.by === 'channel') return ok('edge', 'The agent has a control channel to an edge.', STATUS);
  const why = lease.refused ? ` The edge rejected it: ${lease.refused.code}.` : notes.length > 0 ? ` ${notes[0]}` : '';
  return warningFinding('edge', `No edge renews the lease, so the agent renews it directly with the broker.${why}`, {
    seen: STATUS,
    next: 'Calls may also fail. Check that this workspace can connect to the edge.',
  });
}
