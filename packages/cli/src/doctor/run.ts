/** Looks, step by step, at everything that an enrolment needs, and enrols once where that ends nobody's session. */
import { randomUUID } from 'node:crypto';
import type { AgentConfig } from '@meshpass/agent/control/config';
import { askAgent } from '@meshpass/agent/control/control';
import type { AgentStatus } from '@meshpass/agent/control/status';
import { BrokerClient } from '@meshpass/agent/session/broker-client';
import { discover, type ProofSource, type Surroundings } from '@meshpass/agent/session/discover';
import { newDpopKey } from '@meshpass/agent/session/enrol';
import type { Proof } from '@meshpass/identity/attestation';
import { MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import { ask } from '../broker/ask.ts';
import { adviceFor } from './advice.ts';

export interface DoctorLine {
  readonly check: 'environment' | 'token' | 'broker' | 'clock' | 'presence' | 'session';
  readonly state: 'ok' | 'failed' | 'skipped';
  readonly says: string;
  /** Of a failure. */
  readonly code?: string;
  readonly next?: string;
  readonly untried?: string;
  /** Whether trying again may help by itself. */
  readonly retryable?: boolean;
}

export interface DoctorOptions {
  readonly config: AgentConfig;
  /** PEM of the CA of broker and edge. */
  readonly ca: string | undefined;
  readonly surroundings: Surroundings;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** Certificates of the mesh live for minutes, and are compared with this clock. */
const MOST_SKEW_MS = 60_000;
/** GITHUB_CODESPACES_PORT_FORWARDING_DOMAIN, as the broker knows it. */
const FORWARDING_DOMAIN = 'app.github.dev';

/** Never throws for what it looks at: that is in the lines. */
export async function runDoctor(options: DoctorOptions): Promise<readonly DoctorLine[]> {
  const lines: DoctorLine[] = [];
  const attempt = async <T>(check: DoctorLine['check'], look: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await look();
    } catch (thrown) {
      lines.push(failure(check, toMeshpassError(thrown)));
      return undefined;
    }
  };
  const ok = (check: DoctorLine['check'], says: string) => lines.push({ check, state: 'ok', says });
  const skipped = (check: DoctorLine['check'], says: string) => lines.push({ check, state: 'skipped', says });

  const source = await attempt('environment', async () => findSource(options));
  if (source) ok('environment', WHERE[source.kind]);
  const proof = source && (await attempt('token', () => source.proof()));
  const right = proof !== undefined && (await attempt('token', async () => refuseOtherKinds(proof))) !== undefined;
  // What is in a proof file is good for one session: it is not for us to use it up.
  const usable = right && source?.kind !== 'file';
  if (usable)
    ok(
      'token',
      proof.type === 'oidc' ? 'GitHub Actions issued an ID token.' : 'It is the kind of token that Codespaces have.',
    );
  else if (right)
    skipped('token', 'The proof file holds an ID token, which opens only one session, so it is not used here.');

  const skew = await attempt('broker', () => lookAtBroker(options));
  if (skew !== undefined) {
    ok('broker', `${options.config.broker} answers, with the URL that is configured here.`);
    if ((await attempt('clock', async () => refuseWrongClock(skew))) !== undefined)
      ok('clock', `It differs from the broker's by ${Math.round(Math.abs(skew) / 1000)} s.`);
  }
  if (!usable || skew === undefined) {
    skipped('presence', 'Not reached.');
    skipped('session', 'Not reached.');
    return lines;
  }

  const running = await askAgent<AgentStatus>(options.config.runtimeDirectory, { command: 'status' }).catch(
    () => undefined,
  );
  if (running) {
    skipped(
      'presence',
      'An agent is running here, and a second session would end its session: run meshpass down first.',
    );
    ok('session', `The agent has session ${running.session.id}.`);
    return lines;
  }
  const { opened, port, error } = await enrolOnce(options, proof);
  if (error?.code.startsWith('presence_')) lines.push(failure('presence', error));
  else if (port !== undefined) ok('presence', `The broker saw this Codespace answer on port ${port}.`);
  else skipped('presence', 'The broker did not request it.');
  if (opened) ok('session', `A session opened, and was ended again (grants: ${opened.length}).`);
  else if (error?.code.startsWith('presence_')) skipped('session', 'Not reached.');
  else if (error) lines.push(failure('session', error));
  return lines;
}

const WHERE: Readonly<Record<ProofSource['kind'], string>> = {
  codespace: 'This is a Codespace, with its GITHUB_TOKEN and CODESPACE_NAME.',
  actions: 'This is a job of GitHub Actions.',
  file: 'A proof file is configured.',
};

function findSource({ config, surroundings }: DoctorOptions): ProofSource {
  const source = discover(config, surroundings);
  const domain = surroundings.env.GITHUB_CODESPACES_PORT_FORWARDING_DOMAIN;
  if (source.kind === 'codespace' && domain && domain !== FORWARDING_DOMAIN)
    throw new MeshpassError(
      'config_invalid',
      `Ports of this Codespace are forwarded at ${domain.slice(0, 100)}, but the broker only connects to ${FORWARDING_DOMAIN}.`,
    );
  return source;
}

/** The checks of the broker that need no call to GitHub. */
function refuseOtherKinds(proof: Proof): Proof {
  if (proof.type === 'oidc') {
    if (/^[\w-]+\.[\w-]+\.[\w-]+$/.test(proof.token)) return proof;
    throw new MeshpassError('proof_malformed', 'The ID token is not a JWT.');
  }
  if (proof.token.startsWith('ghu_')) return proof;
  throw new MeshpassError(
    'proof_token_kind',
    `GITHUB_TOKEN begins with ${/^[a-z]{2,6}_(?:pat_)?/.exec(proof.token)?.[0] ?? 'something else'}, not with ghu_: it is not the token of this Codespace.`,
  );
}

/** @returns ms by which the broker's clock is ahead of ours */
async function lookAtBroker({ config, ca, now }: DoctorOptions): Promise<number> {
  const base = URL.canParse(config.broker) ? new URL(config.broker).href.replace(/\/+$/, '') : config.broker;
  if (!base.startsWith('https://'))
    throw new MeshpassError('config_invalid', "The broker's URL must begin with https://.");
  const answer = await ask(`${base}/.well-known/openid-configuration`, { method: 'GET', ca }).catch((cause: Error) => {
    const why = (cause as NodeJS.ErrnoException).code ?? cause.message;
    throw new MeshpassError('agent_broker_unreachable', `The broker ${base} cannot be reached (${why}).`, { cause });
  });
  const issuer = (answer.json as { issuer?: unknown } | undefined)?.issuer;
  if (answer.status !== 200 || typeof issuer !== 'string')
    throw new MeshpassError(
      'agent_broker_unreachable',
      `What answers at ${base} is not a broker: status ${answer.status}.`,
    );
  if (issuer !== base)
    throw new MeshpassError(
      'config_invalid',
      "The broker's public URL is not the one that is configured here, and it accepts only proofs made for its own.",
    );
  const date = Date.parse(String(answer.headers.date ?? ''));
  return Number.isNaN(date) ? 0 : date - now();
}

function refuseWrongClock(skew: number): true {
  if (Math.abs(skew) <= MOST_SKEW_MS) return true;
  throw new MeshpassError(
    'dpop_expired',
    `The clock here is ${Math.round(Math.abs(skew) / 1000)} s ${skew > 0 ? 'behind' : 'ahead of'} the broker's; certificates that are valid for minutes may seem expired or not yet valid.`,
  );
}

interface Enrolled {
  /** Names of the grants. */
  readonly opened?: readonly string[];
  /** Where a challenge was answered. */
  readonly port?: number;
  readonly error?: MeshpassError;
}

/** Opens a session and ends it. */
async function enrolOnce({ config, ca, now }: DoctorOptions, proof: Proof): Promise<Enrolled> {
  const { broker: url, clusterDomain, presencePort } = config;
  let port: number | undefined;
  const client = new BrokerClient({
    ...{ url, key: newDpopKey(), ca, now, randomId: randomUUID, clusterDomain, presencePort },
    onChallenge: (answeredOn) => {
      port = answeredOn;
    },
  });
  try {
    const { access_token: token, session } = await client.openSession(proof);
    await client.goodbye(token);
    return { opened: session.grants, ...(port !== undefined && { port }) };
  } catch (thrown) {
    return { error: toMeshpassError(thrown), ...(port !== undefined && { port }) };
  } finally {
    client.close();
  }
}

function failure(check: DoctorLine['check'], error: MeshpassError): DoctorLine {
  return {
    ...{ check, state: 'failed', says: error.message, code: error.code, retryable: error.retryable },
    ...adviceFor(error.code),
  };
}
