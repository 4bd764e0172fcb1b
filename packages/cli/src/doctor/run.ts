import { askAgent } from '@meshpass/agent/control/control';
import type { AgentStatus } from '@meshpass/agent/control/status';
import { discover, type ProofSource } from '@meshpass/agent/session/discover';
import type { Proof } from '@meshpass/identity/attestation';
import { MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import { tlsFailure } from '@meshpass/identity/tls-failure';
import { ask } from '../broker/ask.ts';
import { enrolOnce, lookAtAgent, lookAtEdge } from './credentials.ts';
import { lookAtKubectl } from './kubectl.ts';
import { type Finding, failed, type More } from './line.ts';
import { lookAtMachine, type MachineCheck } from './machine.ts';
import { nextAfter, resolve, shakeHands } from './network.ts';
import type { DoctorOptions } from './options.ts';

export type DoctorLine = Finding<
  | 'environment'
  | 'token'
  | 'dns'
  | 'tls'
  | 'broker'
  | 'clock'
  | 'presence'
  | 'session'
  | 'credentials'
  | 'edge'
  | 'kubectl'
  | MachineCheck
>;

/** What goes with a failure, which may depend on the error. */
type MoreAbout = More | ((error: MeshpassError) => More);

/** Certificates of the mesh live for minutes, and are compared with this clock. */
const MOST_SKEW_MS = 60_000;
/** GITHUB_CODESPACES_PORT_FORWARDING_DOMAIN, as the broker knows it. */
const FORWARDING_DOMAIN = 'app.github.dev';

/** Never throws for what it looks at: that is in the lines. */
export async function runDoctor(options: DoctorOptions): Promise<readonly DoctorLine[]> {
  const lines: DoctorLine[] = [];
  const attempt = async <T>(
    check: DoctorLine['check'],
    look: () => Promise<T>,
    more?: MoreAbout,
  ): Promise<T | undefined> => {
    try {
      return await look();
    } catch (thrown) {
      const error = toMeshpassError(thrown);
      lines.push(failed(check, error, typeof more === 'function' ? more(error) : more));
      return undefined;
    }
  };
  const ok = (check: DoctorLine['check'], says: string) => lines.push({ check, state: 'ok', says });
  const skipped = (check: DoctorLine['check'], says: string): undefined => {
    lines.push({ check, state: 'skipped', says });
  };

  const machine = (running: AgentStatus | undefined, servicePorts: readonly number[]) =>
    lookAtMachine({
      ...{ config: options.config, env: options.surroundings.env, isRunning: running !== undefined, servicePorts },
    });

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

  const skew = (await lookOutside(options, attempt, { ok, skipped }))
    ? await attempt('broker', () => lookAtBroker(options), {
        seen: `GET ${base(options)}/.well-known/openid-configuration`,
      })
    : skipped('broker', 'Not reached.');
  if (skew !== undefined) {
    ok('broker', `${options.config.broker} answers, with the URL that is configured here.`);
    if ((await attempt('clock', async () => refuseWrongClock(skew), CLOCK)) !== undefined)
      ok('clock', `It differs from the broker's by ${Math.round(Math.abs(skew) / 1000)} s.`);
  }
  if (!usable || skew === undefined) {
    for (const check of ['presence', 'session', 'credentials', 'edge'] as const) skipped(check, 'Not reached.');
    lines.push(...(await machine(undefined, [])));
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
    const [credentials, edge] = lookAtAgent(running, options.now());
    // What the agent is told of an edge that does not serve it is no more than that.
    const shown = edge.state === 'ok' || !running.edge ? edge : await lookAtEdge(running.edge, options.ca);
    lines.push(credentials, shown.state === 'failed' ? shown : edge);
    if (running.kubernetes) lines.push(await lookAtKubectl(running, options.config.runtimeDirectory));
    lines.push(
      ...(await machine(
        running,
        running.services.map(({ port }) => port),
      )),
    );
    return lines;
  }
  const { opened, port, error, credentials, edge } = await enrolOnce(options, proof);
  if (error?.code.startsWith('presence_')) lines.push(failed('presence', error));
  else if (port !== undefined) ok('presence', `The broker saw this Codespace answer on port ${port}.`);
  else skipped('presence', 'The broker did not request it.');
  if (opened) ok('session', `A session opened, and was ended again (grants: ${opened.length}).`);
  else if (error && !error.code.startsWith('presence_')) lines.push(failed('session', error));
  else skipped('session', 'Not reached.');
  if (opened && error) lines.push(failed('credentials', error));
  else if (credentials) ok('credentials', credentials);
  else skipped('credentials', 'Not reached.');
  lines.push(edge ?? { check: 'edge', state: 'skipped', says: 'Not reached.' });
  lines.push(...(await machine(undefined, [])));
  return lines;
}

const WHERE: Readonly<Record<ProofSource['kind'], string>> = {
  codespace: 'This is a Codespace, with its GITHUB_TOKEN and CODESPACE_NAME.',
  actions: 'This is a job of GitHub Actions.',
  file: 'A proof file is configured.',
  'sign-in': 'The developer signs in.',
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

/** Names and TLS. @returns whether it is of use to ask the broker */
async function lookOutside(
  options: DoctorOptions,
  attempt: <T>(check: 'dns' | 'tls', look: () => Promise<T>, more?: MoreAbout) => Promise<T | undefined>,
  { ok, skipped }: Record<'ok' | 'skipped', (check: 'dns' | 'tls', says: string) => void>,
): Promise<boolean> {
  const url = base(options);
  const { hostname, port } = URL.canParse(url) ? new URL(url) : { hostname: url, port: '' };
  const addresses = await attempt('dns', () => resolve(hostname), {
    seen: `look up ${hostname}`,
    next: 'Check the name in --broker, and the name servers of this workspace.',
    command: `getent hosts ${hostname}; cat /etc/resolv.conf`,
  });
  if (!addresses) {
    skipped('tls', 'Not reached.');
    return false;
  }
  ok('dns', `${hostname} is ${addresses.slice(0, 4).join(', ')}.`);
  let isOther = true;
  const handshake = { host: hostname, port: Number(port || 443), ca: options.ca };
  const shaken = await attempt(
    'tls',
    async () => {
      const done = await shakeHands(handshake);
      isOther = false;
      return done;
    },
    (error) => ({
      seen: `TLS handshake with ${hostname}:${handshake.port}`,
      next: nextAfter(error, 'Have broker and edge exempted from the inspection of TLS.'),
      command: `openssl s_client -connect ${hostname}:${handshake.port} -servername ${hostname} -showcerts </dev/null`,
    }),
  );
  if (shaken) ok('tls', `${shaken.protocol}; the certificate was signed by ${shaken.issuer}.`);
  else if (!isOther) skipped('tls', 'No connection.');
  return !isOther;
}

const CLOCK: More = {
  seen: "the Date of the broker's answer",
  command: 'sudo chronyc makestep || sudo timedatectl set-ntp true',
};

function base({ config }: Pick<DoctorOptions, 'config'>): string {
  return URL.canParse(config.broker) ? new URL(config.broker).href.replace(/\/+$/, '') : config.broker;
}

/** A workspace that reaches the internet only through a proxy has its address in the environment. */
function throughProxy(env: Readonly<Record<string, string | undefined>>): string {
  const proxy = env.HTTPS_PROXY || env.https_proxy;
  return proxy
    ? ' HTTPS_PROXY is set, but meshpass connects directly: broker and edge must be reachable without it.'
    : '';
}

/** @returns ms by which the broker's clock is ahead of ours */
async function lookAtBroker({ config, ca, now, surroundings }: DoctorOptions): Promise<number> {
  const url = base({ config });
  if (!url.startsWith('https://'))
    throw new MeshpassError('config_invalid', "The broker's URL must begin with https://.");
  const answer = await ask(`${url}/.well-known/openid-configuration`, { method: 'GET', ca }).catch((cause: Error) => {
    const why = tlsFailure(cause)?.what ?? (cause as NodeJS.ErrnoException).code ?? cause.message;
    throw new MeshpassError(
      'agent_broker_unreachable',
      `The broker ${url} cannot be reached (${why}).${throughProxy(surroundings.env)}`,
      { cause },
    );
  });
  const issuer = (answer.json as { issuer?: unknown } | undefined)?.issuer;
  if (answer.status !== 200 || typeof issuer !== 'string')
    throw new MeshpassError(
      'agent_broker_unreachable',
      `What answers at ${url} is not a broker: status ${answer.status}.`,
    );
  if (issuer !== url)
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
