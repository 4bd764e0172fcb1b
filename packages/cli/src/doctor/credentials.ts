/** Checks the credentials of the running agent or, if no agent is running, of a temporary session. */
import type { AgentConfig } from '@meshpass/agent/control/config';
import type { AgentStatus } from '@meshpass/agent/control/status';
import { BrokerClient } from '@meshpass/agent/session/broker-client';
import type { HostEnvironment } from '@meshpass/agent/session/discover';
import { enrol, generateDpopKey } from '@meshpass/agent/session/enrol';
import { MeshpassError, type Proof, toMeshpassError } from '@meshpass/identity';
import { type Finding, failed, ok, skipped, warning } from '../diagnosis/finding.ts';
import { performTlsHandshake, resolveHost, tlsAdviceFor } from '../diagnosis/tls.ts';

export interface DoctorOptions {
  readonly config: AgentConfig;
  /** The CA of the broker and the edge, in PEM format. */
  readonly ca: string | undefined;
  readonly surroundings: HostEnvironment;
  /** Returns the current time in Unix milliseconds. */
  readonly now: () => number;
}

/** The findings about a session, keyed by the names of the checks. */
export type SessionFindings = Record<'presence' | 'session' | 'credentials' | 'edge', Finding>;

/**
 * Opens a session, checks it and its credentials, and ends it. The check presents one of the certificates to the edge.
 * Never throws.
 */
export async function checkEnrolment({ config, ca, now }: DoctorOptions, proof: Proof): Promise<SessionFindings> {
  const { broker: url, clusterDomain, presencePort } = config;
  const found: SessionFindings = {
    presence: skipped('The broker did not request it.'),
    session: skipped('Not reached.'),
    credentials: skipped('Not reached.'),
    edge: skipped('Not reached.'),
  };
  const opened = (grants: number) => ok(`Opened a session and ended it again (grants: ${grants}).`);
  const client = new BrokerClient({
    url,
    key: generateDpopKey(),
    ca,
    now,
    clusterDomain,
    presencePort,
    onChallenge: (port) => {
      found.presence = ok(`The broker received this Codespace's answer on port ${port}.`);
    },
  });
  try {
    const enrolled = await enrol(client, proof, now, () => {
      found.session = opened(0);
    });
    const [svid] = enrolled.svids.values();
    const edge = await checkEdge(enrolled.mesh.edge, ca, svid && { cert: svid.chain, key: svid.privateKey });
    await client.goodbye(enrolled.accessToken);
    found.session = opened(enrolled.session.grants.length);
    const certificates = enrolled.svids.size === 1 ? 'a certificate' : `${enrolled.svids.size} certificates`;
    found.credentials = ok(`istiod signed ${certificates}; the broker signed a token.`);
    found.edge = edge;
  } catch (thrown) {
    const error = toMeshpassError(thrown);
    if (found.session.state === 'ok') found.credentials = failed(error);
    else if (error.code.startsWith('presence_')) found.presence = failed(error);
    else found.session = failed(error);
  } finally {
    client.close();
  }
  return found;
}

/**
 * Checks that the edge can be reached and presents a trusted certificate.
 * @param client the client certificate to present. If it is omitted, only the edge's own certificate is checked
 */
export async function checkEdge(
  { host, port }: { readonly host: string; readonly port: number },
  ca: string | undefined,
  client?: { readonly cert: string; readonly key: string },
): Promise<Finding> {
  try {
    await resolveHost(host);
    const shaken = await performTlsHandshake({ host, port, ca, ...(client && { client }) });
    if (!shaken) throw new MeshpassError('agent_edge_unreachable', `Cannot reach the edge at ${host}:${port}.`);
    return ok(`${host}:${port} responds (${shaken.protocol})${client ? ' and accepts the certificate' : ''}.`);
  } catch (thrown) {
    const error = toMeshpassError(thrown);
    return failed(error, {
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
export function checkAgentStatus(status: AgentStatus, now: number): Pick<SessionFindings, 'credentials' | 'edge'> {
  return { credentials: credentialsOf(status, now), edge: edgeOf(status) };
}

const STATUS = 'meshpass status --output json';

function credentialsOf({ credentials, broker }: AgentStatus, now: number): Finding {
  const ends = [...credentials.svids.map(({ expiresAt }) => expiresAt), credentials.identityTokenExpiresAt];
  const left = Math.round((Math.min(...ends) - now) / 1000);
  const failures = Object.entries(broker.failures).map(([task, why]) => `${task}: ${why}`);
  if (left <= 0)
    return {
      state: 'failed',
      code: 'agent_credentials_expired',
      seen: STATUS,
      command: 'meshpass down && meshpass up',
      says: `A credential of the agent has expired and was not renewed${failures.length > 0 ? ` (${failures.join('; ')})` : ''}.`,
      next: 'Fix what prevents the renewal, then restart the agent.',
    };
  if (failures.length > 0)
    return warning(`The first credential expires in ${left} s, and its renewal is failing: ${failures.join('; ')}.`, {
      seen: STATUS,
    });
  return ok(`The agent renews its credentials. The first one is valid for another ${left} s.`, STATUS);
}

function edgeOf({ lease, notes }: AgentStatus): Finding {
  if (lease.by === 'channel') return ok('The agent has a control channel to an edge.', STATUS);
  const why = lease.refused ? ` The edge rejected it: ${lease.refused.code}.` : notes.length > 0 ? ` ${notes[0]}` : '';
  return warning(`No edge renews the lease, so the agent renews it directly with the broker.${why}`, {
    seen: STATUS,
    next: 'Calls may also fail. Check that this workspace can connect to the edge.',
  });
}
