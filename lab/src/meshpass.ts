/**
 * Meshpass itself in the lab, on host `meshpass`, with rights no wider than in production: the broker with the edge in
 * one process, or the edge apart. Both are units of the lab (`meshpass`, `edge`): they go down with it, and
 * `lab.kill('meshpass')` and `lab.restart('meshpass')` work on them.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { applyBrokerRights, BROKER_URL, KUBERNETES_AUDIENCE } from './broker/rights.ts';
import type { Lab } from './lab.ts';
import { FORWARDING_PORT } from './plan.ts';
import { GITHUB_URL, standIns } from './stand-ins.ts';
import { logFile, runUnit, stopUnit, type Unit, waitReady } from './unit.ts';

export interface MeshpassOptions {
  /** Access file to start with. Default: the lab's own. */
  readonly accessFile?: string;
  /** Keep the store and the keys of an earlier start. Default: begin with nothing. */
  readonly keepData?: boolean;
  /** Called with the empty data directory of a new store. Default: the broker runs `initdb`, which takes four seconds of processor time. */
  readonly prepareStore?: (dataDir: string) => Promise<unknown>;
  /** The command line of the `meshpass` to run. Default: this repository's. */
  readonly command?: readonly string[];
  /** Run the edge as a process of its own. */
  readonly edgeApart?: boolean;
  /**
   * Run a second broker (unit `meshpass-2`) that stands by for the first, on the same address, as behind a Service; `flags`
   * must name a PostgreSQL.
   */
  readonly standby?: boolean;
  /** Lets workspaces whose grants have roles use kubectl. */
  readonly kubernetes?: boolean;
  /**
   * Accept a static operator token (`--break-glass`), so that tests read and act without a sign-in. Its holder may do nearly
   * everything. Default: as in production, operators sign in.
   */
  readonly breakGlassWithoutAnEmergency?: boolean;
  /** More flags of `meshpass serve`. */
  readonly flags?: readonly string[];
  /** More flags of `meshpass edge`, for an edge as a process of its own. */
  readonly edgeFlags?: readonly string[];
  readonly progress?: (line: string) => void;
}

/** The command line of a `meshpass` whose broker LETS ENDED SESSIONS GO ON: one step of their end is sabotaged. */
export function sabotagedMeshpass(step: string): readonly string[] {
  return [process.execPath, fileURLToPath(new URL('./broker/sabotaged-broker.ts', import.meta.url)), step];
}

export interface Meshpass {
  /** URL for the workspace. */
  readonly brokerUrl: string;
  readonly edge: { readonly host: string; readonly port: number };
  /** Operator listener, from the root namespace. */
  readonly operatorUrl: string;
  /** Operator listener of `meshpass-2`. */
  readonly standbyOperatorUrl: string;
  /** Operator token, which the broker accepts only if it was started with `breakGlassWithoutAnEmergency`. */
  readonly operatorToken: string;
  /** The access file in force: write to it and the broker follows. */
  readonly accessFile: string;
  readonly dataDir: string;
  /** Standard output and error of its processes since this start. */
  log(): string;
  /** Ends all its processes as a kubelet would (SIGTERM). */
  stop(): Promise<void>;
}

/** Environment of a Codespace for an agent, as GitHub and a devcontainer.json would set it. */
export function codespaceEnvironment(
  lab: Lab,
  { brokerUrl }: Pick<Meshpass, 'brokerUrl'>,
  { name, token }: { readonly name: string; readonly token: string },
) {
  return {
    CODESPACES: 'true',
    CODESPACE_NAME: name,
    GITHUB_TOKEN: token,
    MESHPASS_BROKER: brokerUrl,
    MESHPASS_CA_FILE: lab.testCa,
  };
}

const BROKER_PORT = 8443;
const EDGE_PORT = 443;
const OPERATOR_PORT = 9090;
const EDGE_OPERATOR_PORT = 9091;
const STANDBY_OPERATOR_PORT = 9092;
const TOKEN_SECONDS = 86_400;
const KEYS = { namespace: 'meshpass-system', name: 'meshpass-keys' } as const;

/**
 * Starts Meshpass and waits until it is ready; stops earlier processes of it first.
 * @throws LabError with the end of its log if it ends or is not ready in time
 */
export async function startMeshpass(lab: Lab, options: MeshpassOptions = {}): Promise<Meshpass> {
  options.progress?.('starting meshpass serve');
  await stopMeshpass(lab);
  const dir = join(lab.dir, 'meshpass');
  const dataDir = join(dir, 'data');
  const standbyDataDir = join(dir, 'data-2');
  const checkpointFile = join(dir, 'audit-checkpoint');
  if (!options.keepData)
    for (const one of [dataDir, standbyDataDir, checkpointFile]) rmSync(one, { recursive: true, force: true });
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  if (!options.keepData) await options.prepareStore?.(dataDir);
  const accessFile = join(dir, 'access.yaml');
  copyFileSync(options.accessFile ?? fileURLToPath(new URL('./access.yaml', import.meta.url)), accessFile);
  const operatorTokenFile = join(dir, 'operator.token');
  const operatorToken = crypto.randomUUID() + crypto.randomUUID();
  writeFileSync(operatorTokenFile, `${operatorToken}\n`, { mode: 0o600 });
  await applyBrokerRights(lab.kubernetes, options.kubernetes ? KUBERNETES_AUDIENCE : '');
  if (options.standby && !options.keepData) await makeKeysSecret(lab);
  const toApi = options.kubernetes ? ['--kubernetes-api', new URL(lab.kubernetes.url).host] : [];

  const names = ['meshpass', ...(options.standby ? ['meshpass-2'] : []), ...(options.edgeApart ? ['edge'] : [])];
  // A log continues over starts: others have used the lab before.
  const logs = names
    .map((name) => logFile(lab.dir, name))
    .map((file) => ({ file, from: existsSync(file) ? statSync(file).size : 0 }));
  const operatorUrl = `http://${lab.hosts.meshpass!.ip}:${OPERATOR_PORT}`;
  const standbyOperatorUrl = `http://${lab.hosts.meshpass!.ip}:${STANDBY_OPERATOR_PORT}`;
  const serve = [
    ...[...(options.command ?? ['meshpass']), 'serve'],
    ...['--access', accessFile],
    ...['--public-url', BROKER_URL],
    ...['--listen', `0.0.0.0:${BROKER_PORT}`],
    // The operator listener is not on the internet's side, because no workspace needs it.
    ...['--operator-listen', `${lab.hosts.meshpass!.ip}:${OPERATOR_PORT}`],
    ...['--tls-cert', join(lab.dir, 'tls/broker.meshpass.test.crt')],
    ...['--tls-key', join(lab.dir, 'tls/broker.meshpass.test.key')],
    ...['--data', dataDir],
    // Logs of both brokers, if there are two.
    ...['--audit-checkpoint', checkpointFile],
    ...(options.breakGlassWithoutAnEmergency ? ['--operator-token', operatorTokenFile, '--break-glass'] : []),
    ...['--kubeconfig', await writeKubeconfig(lab, join(dir, 'kubeconfig'))],
    ...(options.standby ? ['--signing-key-secret', `${KEYS.namespace}/${KEYS.name}`] : []),
    ...['--istiod', lab.istiodAddress],
    ...(options.kubernetes ? ['--kubernetes-audience', KUBERNETES_AUDIENCE] : []),
    ...['--github-api', GITHUB_URL],
    ...['--github-app', String((await standIns(lab).github.app()).id)],
    ...['--github-app-key', join(lab.dir, 'hosts/github/github/github-app.pem')],
    ...['--edge-public', `edge.meshpass.test:${EDGE_PORT}`],
    ...(options.edgeApart
      ? []
      : [
          '--edge-listen',
          `0.0.0.0:${EDGE_PORT}`,
          ...edgeFlags(lab, '--edge-'),
          '--mesh-gateway',
          lab.gatewayAddress,
          ...toApi,
        ]),
    // GitHub's port forwarding is also a stand-in, and no name server resolves its names to it.
    ...['--lab-only-send-github-tokens-to', `${lab.hosts.github!.ip}:${FORWARDING_PORT}`],
    // Differs from the default, so that every layer has to refuse by itself after every end. The last value of a flag counts.
    ...['--deny-ended', 'always'],
    ...(options.flags ?? []),
  ];
  const first = unitOf(lab, 'meshpass', serve, `${operatorUrl}/readyz`);
  if (!options.standby) await runUnit(lab.dir, first);
  else {
    // After a restart this broker may be the standby, which is up as soon as it answers.
    await runUnit(lab.dir, { ...first, ready: { url: `${operatorUrl}/healthz` } });
    await waitReady(lab.dir, first);
    const second = [
      ...serve,
      ...['--operator-listen', `${lab.hosts.meshpass!.ip}:${STANDBY_OPERATOR_PORT}`],
      ...['--data', standbyDataDir],
      ...['--audit-key', join(dataDir, 'audit-key.pem')],
    ];
    await runUnit(lab.dir, unitOf(lab, 'meshpass-2', second, `${standbyOperatorUrl}/healthz`));
  }

  if (options.edgeApart) {
    const tokenFile = join(dir, 'edge.token');
    const token = await lab.kubernetes.serviceAccountToken(
      ...(['meshpass-system', 'meshpass-edge', ['meshpass-broker'], TOKEN_SECONDS] as const),
    );
    writeFileSync(tokenFile, token, { mode: 0o600 });
    const edge = [
      ...['meshpass', 'edge'],
      ...['--listen', `0.0.0.0:${EDGE_PORT}`],
      ...edgeFlags(lab, '--'),
      ...toApi,
      ...['--mesh-gateway', lab.gatewayAddress],
      ...['--broker', BROKER_URL],
      ...['--broker-token', tokenFile],
      ...['--broker-ca', lab.testCa],
      ...['--operator-listen', `${lab.hosts.meshpass!.ip}:${EDGE_OPERATOR_PORT}`],
      // A single edge does not drain, because agents have no other edge.
      ...['--drain', '0'],
      ...(options.edgeFlags ?? []),
    ];
    const ready = `http://${lab.hosts.meshpass!.ip}:${EDGE_OPERATOR_PORT}/readyz`;
    await runUnit(lab.dir, unitOf(lab, 'edge', edge, ready));
  }
  return {
    brokerUrl: BROKER_URL,
    edge: { host: 'edge.meshpass.test', port: EDGE_PORT },
    operatorUrl,
    standbyOperatorUrl,
    operatorToken,
    accessFile,
    dataDir,
    log: () =>
      logs.map(({ file, from }) => (existsSync(file) ? readFileSync(file).subarray(from).toString() : '')).join(''),
    stop: () => stopMeshpass(lab),
  };
}

/** The Secret as the chart's hook makes it: the brokers store their signing keys in an entry of it. */
async function makeKeysSecret(lab: Lab): Promise<void> {
  const secret = { apiVersion: 'v1', kind: 'Secret', metadata: KEYS };
  await lab.kubernetes.remove(secret);
  await lab.kubernetes.apply({ ...secret, stringData: { 'audit-key.pem': 'not of these brokers' } });
}

async function stopMeshpass(lab: Lab): Promise<void> {
  await Promise.all(['meshpass', 'meshpass-2', 'edge'].map((name) => stopUnit(lab.dir, name)));
}

function edgeFlags(lab: Lab, prefix: string): string[] {
  const file = join(lab.dir, 'tls/edge.meshpass.test');
  return [`${prefix}tls-cert`, `${file}.crt`, `${prefix}tls-key`, `${file}.key`];
}

function unitOf(lab: Lab, name: string, argv: string[], ready: string): Unit {
  const { netns } = lab.hosts.meshpass!;
  // Compiling its modules takes a broker as long as the rest of its start.
  const env = { NODE_ENV: 'production', NODE_COMPILE_CACHE: join(lab.dir, 'compile-cache') };
  const command = lab.commandLine('meshpass', argv, { env });
  const environment = Object.entries(command.env).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return {
    name,
    host: 'meshpass',
    netns,
    argv,
    cwd: join(lab.dir, 'meshpass'),
    env: Object.fromEntries(environment),
    ready: { url: ready },
  };
}

async function writeKubeconfig(lab: Lab, path: string): Promise<string> {
  const token = await lab.kubernetes.serviceAccountToken('meshpass-system', 'meshpass-broker', [], TOKEN_SECONDS);
  const ca = readFileSync(lab.testCa).toString('base64');
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'lab',
    clusters: [{ name: 'lab', cluster: { server: lab.kubernetes.url, 'certificate-authority-data': ca } }],
    users: [{ name: 'meshpass-broker', user: { token } }],
    contexts: [{ name: 'lab', context: { cluster: 'lab', user: 'meshpass-broker' } }],
  };
  writeFileSync(path, JSON.stringify(config, null, 2), { mode: 0o600 });
  return path;
}
