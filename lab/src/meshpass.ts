/** Meshpass itself in the lab: the broker and the edge in one process on host `meshpass`, with rights no wider than in production. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';
import { LabError } from './error.ts';
import type { KubeObject } from './kubernetes.ts';
import type { Lab } from './lab.ts';
import { GITHUB_URL, standIns } from './stand-ins.ts';

export interface MeshpassOptions {
  /** Access file to start with. Default: the lab's own. */
  readonly accessFile?: string;
  /** More flags of `meshpass serve`. */
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly progress?: (line: string) => void;
}

export interface Meshpass {
  /** As the workspace calls it. */
  readonly brokerUrl: string;
  readonly edge: { readonly host: string; readonly port: number };
  /** Operator listener, from the root namespace. */
  readonly operatorUrl: string;
  /** The access file in force: write to it and the broker follows. */
  readonly accessFile: string;
  readonly dataDir: string;
  readonly logFile: string;
  /** Its standard output and error so far. */
  log(): string;
  kill(signal?: NodeJS.Signals): Promise<void>;
  /** Starts it again as it was, over the same data. */
  start(): Promise<void>;
  stop(): Promise<void>;
}

const BROKER_PORT = 8443;
const EDGE_PORT = 443;
const OPERATOR_PORT = 9090;
const TOKEN_SECONDS = 86_400;
const READY_WITHIN_MS = 60_000;

/**
 * Starts `meshpass serve` on host `meshpass` and waits until it is ready.
 * @throws LabError with the end of its log where it ends or is not ready in time
 */
export async function startMeshpass(lab: Lab, options: MeshpassOptions = {}): Promise<Meshpass> {
  const dir = join(lab.dir, 'meshpass');
  const dataDir = join(dir, 'data');
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const accessFile = join(dir, 'access.yaml');
  copyFileSync(options.accessFile ?? fileURLToPath(new URL('./access.yaml', import.meta.url)), accessFile);
  await applyRights(lab);
  const kubeconfig = await writeKubeconfig(lab, join(dir, 'kubeconfig'));
  const app = await standIns(lab).github.app();
  const operatorToken = join(dir, 'operator.token');
  if (!existsSync(operatorToken)) writeFileSync(operatorToken, `${crypto.randomUUID()}\n`, { mode: 0o600 });

  const argv = [
    'meshpass',
    'serve',
    ...['--access', accessFile],
    ...['--public-url', `https://broker.meshpass.test:${BROKER_PORT}`],
    ...['--listen', `0.0.0.0:${BROKER_PORT}`],
    ...['--operator-listen', `0.0.0.0:${OPERATOR_PORT}`],
    ...['--tls-cert', join(lab.dir, 'tls/broker.meshpass.test.crt')],
    ...['--tls-key', join(lab.dir, 'tls/broker.meshpass.test.key')],
    ...['--data', dataDir],
    ...['--operator-token', operatorToken],
    ...['--kubeconfig', kubeconfig],
    ...['--istiod', lab.istiodAddress],
    ...['--github-api', GITHUB_URL],
    ...['--github-app', String(app.id)],
    ...['--github-app-key', join(lab.dir, 'hosts/github/github/github-app.pem')],
    ...['--edge-public', `edge.meshpass.test:${EDGE_PORT}`],
    ...['--edge-listen', `0.0.0.0:${EDGE_PORT}`],
    ...['--edge-tls-cert', join(lab.dir, 'tls/edge.meshpass.test.crt')],
    ...['--edge-tls-key', join(lab.dir, 'tls/edge.meshpass.test.key')],
    ...['--mesh-gateway', lab.gatewayAddress],
    ...(options.flags ?? []),
  ];
  const operatorUrl = `http://${lab.hosts.meshpass!.ip}:${OPERATOR_PORT}`;
  const logFile = join(lab.dir, 'logs/meshpass.log');
  const log = () => (existsSync(logFile) ? readFileSync(logFile, 'utf8') : '');
  let child: ChildProcess | undefined;

  const start = async () => {
    options.progress?.('meshpass serve: broker and edge on host meshpass');
    child = lab.spawn('meshpass', argv, { log: 'meshpass', ...(options.env && { env: options.env }) });
    await untilReady(child, operatorUrl, log);
  };
  const kill = async (signal: NodeJS.Signals = 'SIGKILL') => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  };
  await start();
  return {
    brokerUrl: `https://broker.meshpass.test:${BROKER_PORT}`,
    edge: { host: 'edge.meshpass.test', port: EDGE_PORT },
    operatorUrl,
    accessFile,
    dataDir,
    logFile,
    log,
    kill,
    start,
    stop: () => kill('SIGTERM'),
  };
}

async function untilReady(child: ChildProcess, operatorUrl: string, log: () => string): Promise<void> {
  const deadline = Date.now() + READY_WITHIN_MS;
  while (Date.now() < deadline) {
    if (child.exitCode !== null || child.signalCode !== null) break;
    const answer = await fetch(`${operatorUrl}/readyz`).catch(() => undefined);
    if (answer?.ok) return;
    await sleep(50);
  }
  const said = log().trim().split('\n').slice(-20).join('\n');
  throw new LabError('lab_start', `meshpass serve is not ready; the end of its log:\n${said}`);
}

/** The RBAC of production, as it is in deploy/. */
async function applyRights(lab: Lab): Promise<void> {
  const file = new URL('../../deploy/kubernetes/broker-rbac.yaml', import.meta.url);
  const objects = parseAllDocuments(readFileSync(file, 'utf8'))
    .map((document) => document.toJS() as KubeObject | null)
    .filter((object) => object !== null);
  for (const object of objects) await lab.kubernetes.apply(object);
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
