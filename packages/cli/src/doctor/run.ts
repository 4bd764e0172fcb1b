/** Runs the checks of `meshpass doctor`, in the order in which an enrolment depends on them. */
import { readFileSync } from 'node:fs';
import { sendControlRequest } from '@meshpass/agent/control/control';
import type { AgentStatus } from '@meshpass/agent/control/status';
import type { KubernetesCredential } from '@meshpass/agent/kubernetes/workspace-kubernetes';
import { discoverProofSource, type ProofSource } from '@meshpass/agent/session/discover';
import { KUBERNETES_API, MeshpassError, type Proof, pageUrl, toMeshpassError } from '@meshpass/identity';
import { z } from 'zod';
import { ask, fetchFromBroker, notBrokerError, parseBrokerUrl } from '../broker/request.ts';
import { type Finding, failed, ok, skipped } from '../diagnosis/finding.ts';
import { type Check, type CheckedFinding, diagnose } from '../diagnosis/run.ts';
import { performTlsHandshake, resolveHost, tlsAdviceFor } from '../diagnosis/tls.ts';
import {
  checkAgentStatus,
  checkEdge,
  checkEnrolment,
  type DoctorOptions,
  type SessionFindings,
} from './credentials.ts';
import { checkEnvoy, checkHosts, checkPorts } from './machine.ts';

/**
 * The maximum clock skew. Mesh certificates are valid for only a few minutes, and the local clock determines whether
 * they have expired.
 */
const MOST_SKEW_MS = 60_000;
/** The value of GITHUB_CODESPACES_PORT_FORWARDING_DOMAIN that the broker expects. */
const FORWARDING_DOMAIN = 'app.github.dev';

/**
 * Runs the checks. A failed check produces a finding.
 * @throws MeshpassError `usage` if the broker's URL does not use https
 */
export async function runDoctor(given: DoctorOptions): Promise<readonly CheckedFinding[]> {
  const config = { ...given.config, broker: parseBrokerUrl(given.config.broker) };
  const options = { ...given, config };
  const { env } = options.surroundings;
  let source: ProofSource;
  let proof: Proof;
  let skew: number;
  let running: AgentStatus | undefined;
  const checks: readonly Check[] = [
    {
      names: ['environment'],
      run: () => {
        source = findSource(options);
        return ok(WHERE[source.kind]);
      },
    },
    {
      names: ['token'],
      needs: ['environment'],
      run: async () => {
        proof = refuseOtherKinds(await source.proof());
        if (source.kind === 'file')
          return skipped(
            'The proof file contains an ID token that can open only one session, so doctor does not use it.',
          );
        return ok(
          proof.type === 'oidc'
            ? 'GitHub Actions issued an ID token.'
            : 'GITHUB_TOKEN has the format of a Codespaces token.',
        );
      },
    },
    ...reachability(options),
    {
      names: ['broker'],
      needs: ['dns', 'tls'],
      run: async () => {
        skew = await lookAtBroker(options);
        return ok(`${config.broker} responds, and its public URL matches the one configured here.`);
      },
      onError: { seen: `GET ${config.broker}/.well-known/openid-configuration` },
    },
    {
      names: ['clock'],
      needs: ['broker'],
      run: () => ok(`The clock differs from the broker's by ${secondsOff(skew)} s.`),
      onError: CLOCK,
    },
    {
      names: ['presence', 'session', 'credentials', 'edge'],
      needs: ['token', 'broker'],
      run: async () => {
        if (source.kind === 'file') return named(NOT_REACHED);
        running = await sendControlRequest<AgentStatus>(config.runtimeDirectory, { command: 'status' }).catch(
          () => undefined,
        );
        return named(running ? await ofAgent(running, options) : await checkEnrolment(options, proof));
      },
    },
    {
      names: ['envoy'],
      run: () => checkEnvoy(config, env),
      onError: { seen: config.envoy ?? `PATH=${env.PATH ?? ''}`, command: 'npm install --global @meshpass/cli' },
    },
    { names: ['hosts'], run: () => checkHosts(config) },
    { names: ['ports'], run: () => checkPorts(config, running) },
  ];
  return await diagnose(checks);
}

const unreached = skipped('Not reached.');
const NOT_REACHED: SessionFindings = {
  presence: unreached,
  session: unreached,
  credentials: unreached,
  edge: unreached,
};

function named(found: Readonly<Record<string, Finding>>): readonly Finding[] {
  return Object.entries(found).map(([check, finding]) => ({ check, ...finding }));
}

/** Checks the running agent. Does not open a second session, because that would end the agent's own session. */
async function ofAgent(running: AgentStatus, { config, ca, now }: DoctorOptions): Promise<Record<string, Finding>> {
  const { credentials, edge } = checkAgentStatus(running, now());
  // If the agent is not connected to the edge, its status does not explain why, so check the edge directly.
  const shown = edge.state === 'ok' || !running.edge ? edge : await checkEdge(running.edge, ca);
  return {
    presence: skipped('An agent is running here, and a second session would end its session. Run meshpass down first.'),
    session: ok(`The agent has session ${running.session.id}.`),
    credentials,
    edge: shown.state === 'failed' ? shown : edge,
    ...(running.kubernetes && { kubectl: await lookAtKubectl(running, config.runtimeDirectory) }),
  };
}

const WHERE: Readonly<Record<ProofSource['kind'], string>> = {
  codespace: 'This is a Codespace, with its GITHUB_TOKEN and CODESPACE_NAME.',
  actions: 'This is a GitHub Actions job.',
  file: 'A proof file is configured.',
  'sign-in': 'The developer signs in.',
};

function findSource({ config, surroundings }: DoctorOptions): ProofSource {
  const source = discoverProofSource(config, surroundings);
  const domain = surroundings.env.GITHUB_CODESPACES_PORT_FORWARDING_DOMAIN;
  if (source.kind === 'codespace' && domain && domain !== FORWARDING_DOMAIN)
    throw new MeshpassError(
      'config_invalid',
      `This Codespace's ports are forwarded at ${domain.slice(0, 100)}, but the broker only connects to ${FORWARDING_DOMAIN}.`,
    );
  return source;
}

/** Rejects proofs that the broker would reject without even contacting GitHub. */
function refuseOtherKinds(proof: Proof): Proof {
  if (proof.type === 'oidc') {
    if (/^[\w-]+\.[\w-]+\.[\w-]+$/.test(proof.token)) return proof;
    throw new MeshpassError('proof_malformed', 'The ID token is not a valid JWT.');
  }
  if (proof.token.startsWith('ghu_')) return proof;
  throw new MeshpassError(
    'proof_token_kind',
    `GITHUB_TOKEN begins with ${/^[a-z]{2,6}_(?:pat_)?/.exec(proof.token)?.[0] ?? 'something else'}, not with ghu_, so it is not this Codespace's token.`,
  );
}

/** Returns the checks that resolve the broker's host name and examine its TLS certificate. */
function reachability(options: DoctorOptions): readonly Check[] {
  const { hostname: host, port } = new URL(options.config.broker);
  const handshake = { host, port: Number(port || 443), ca: options.ca };
  return [
    {
      names: ['dns'],
      run: async () => ok(`${host} resolves to ${(await resolveHost(host)).slice(0, 4).join(', ')}.`),
      onError: {
        seen: `look up ${host}`,
        next: "Check the name in --broker, and this workspace's name servers.",
        command: `getent hosts ${host}; cat /etc/resolv.conf`,
      },
    },
    {
      names: ['tls'],
      needs: ['dns'],
      run: async () => {
        const shaken = await performTlsHandshake(handshake);
        if (!shaken) return skipped('No connection.');
        return ok(`${shaken.protocol}; the certificate was signed by ${shaken.issuer}.`);
      },
      onError: (error) => ({
        seen: `TLS handshake with ${host}:${handshake.port}`,
        next: tlsAdviceFor(error, 'Exempt the broker and edge from TLS inspection.'),
        command: `openssl s_client -connect ${host}:${handshake.port} -servername ${host} -showcerts </dev/null`,
      }),
    },
  ];
}

const CLOCK = {
  seen: "the Date header of the broker's response",
  command: 'sudo chronyc makestep || sudo timedatectl set-ntp true',
};

/**
 * Returns a hint if HTTPS_PROXY is set, because the workspace may only be able to reach the internet through that
 * proxy.
 */
function throughProxy(env: Readonly<Record<string, string | undefined>>): string {
  const proxy = env.HTTPS_PROXY || env.https_proxy;
  return proxy
    ? ' HTTPS_PROXY is set, but meshpass connects directly: broker and edge must be reachable without it.'
    : '';
}

/**
 * Checks that the broker responds.
 * @returns how far the broker's clock is ahead of the local clock, in milliseconds
 */
async function lookAtBroker({ config, ca, now, surroundings }: DoctorOptions): Promise<number> {
  const { broker: url } = config;
  const answer = await fetchFromBroker(url, '/.well-known/openid-configuration', ca, throughProxy(surroundings.env));
  const issuer = (answer.json as { issuer?: unknown } | undefined)?.issuer;
  if (answer.status !== 200 || typeof issuer !== 'string') throw notBrokerError(url, answer);
  if (issuer !== url)
    throw new MeshpassError(
      'config_invalid',
      "The broker's public URL differs from the one configured here, and the broker accepts only proofs made for its own URL.",
    );
  const date = Date.parse(String(answer.headers.date ?? ''));
  return Number.isNaN(date) ? 0 : date - now();
}

/**
 * Returns the absolute clock skew in seconds.
 * @throws MeshpassError `dpop_expired` if the skew is too large
 */
function secondsOff(skew: number): number {
  const seconds = Math.round(Math.abs(skew) / 1000);
  if (Math.abs(skew) <= MOST_SKEW_MS) return seconds;
  throw new MeshpassError(
    'dpop_expired',
    `This machine's clock is ${seconds} s ${skew > 0 ? 'behind' : 'ahead of'} the broker's. Short-lived certificates may appear expired or not yet valid.`,
  );
}

// The kubectl check presents one of the agent's tokens to the API server through the edge.

const Kubeconfig = z.object({
  clusters: z.array(z.object({ cluster: z.object({ 'certificate-authority-data': z.string().optional() }) })).min(1),
});
/** An API path that can be read with any valid token. */
const PATH = '/apis/authentication.k8s.io/v1';

/** Checks that kubectl can reach the API server. Never throws. */
async function lookAtKubectl({ kubernetes }: AgentStatus, directory: string): Promise<Finding> {
  const [context] = kubernetes?.contexts ?? [];
  if (!kubernetes || !context) return skipped('No grant has Kubernetes roles.');
  try {
    const order = { command: 'kubernetes', grant: context.grant } as const;
    const { token } = await sendControlRequest<KubernetesCredential>(directory, order);
    const config = Kubeconfig.parse(JSON.parse(readFileSync(kubernetes.kubeconfig, 'utf8')));
    const ca = config.clusters[0]!.cluster['certificate-authority-data'];
    const { status } = await ask(context.server + PATH, {
      method: 'GET',
      headers: { host: KUBERNETES_API.host, authorization: `Bearer ${token}` },
      servername: KUBERNETES_API.host,
      ca: ca && Buffer.from(ca, 'base64').toString(),
    });
    if (status === 200) return ok(`The API server responds in context ${context.name}.`);
    throw new MeshpassError(
      'kubernetes_unavailable',
      status === 401
        ? "The API server rejected the token: the broker's audience (--kubernetes-audience) is not one of the API server's audiences."
        : `The API server responded with status ${status}.`,
    );
  } catch (thrown) {
    return failed(toMeshpassError(thrown, 'tunnel_gateway_unreachable', WAY), {
      seen: `GET ${context.server}${PATH}`,
      command: 'meshpass status',
      next: `Check meshpass status for refusals by the edge, and ${pageUrl('docs/access/kubectl.md')} for the next steps.`,
    });
  }
}

const WAY = 'Cannot reach the API server through the edge.';
