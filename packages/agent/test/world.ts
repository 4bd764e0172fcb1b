/** A complete agent on the loopback, between a workload, an edge and a broker. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type Agent, get, type IncomingHttpHeaders } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import type { ReachableService } from '@meshpass/identity/wire';
import { afterEach, expect } from 'vitest';
import { type AgentConfig, agentConfig } from '../src/control/config.ts';
import { type RunningAgent, runAgent } from '../src/run-agent.ts';
import type { HostEnvironment } from '../src/session/discover.ts';
import {
  type Authority,
  createAuthority,
  service,
  startEdge,
  startWorkload,
  type TestEdge,
  testEnvoy,
  type Workload,
} from './harness.ts';
import { startBroker, type TestBroker } from './test-broker.ts';

/** Registers a cleanup that runs after the test. */
export function afterThisTest(cleanup: () => unknown): void {
  cleanups.push(cleanup);
}

export interface World {
  config: AgentConfig;
  broker: TestBroker;
  edge: TestEdge;
  workload: Workload;
  /** Authorities for SVIDs (`mesh`), and for edge and broker (`public`). */
  authorities: { readonly mesh: Authority; readonly public: Authority };
  agent: RunningAgent;
  hostsFile: string;
  runtimeDirectory: string;
  start(): Promise<RunningAgent>;
}

let cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
  cleanups = [];
});

export interface WorldOptions {
  readonly adjust?: (broker: TestBroker) => void;
  readonly services?: ReachableService[];
  readonly log?: (event: string, detail?: Readonly<Record<string, unknown>>) => void;
  readonly onConnection?: (socket: TLSSocket) => void;
  readonly mayListenOn?: (port: number) => boolean;
}

export async function world(options: WorldOptions = {}): Promise<World> {
  const { start, ...parts } = await surroundingsOfAgent(options);
  return { ...parts, start, agent: await start() };
}

/** Starts everything except the agent. */
export async function surroundingsOfAgent(options: WorldOptions = {}): Promise<Omit<World, 'agent'>> {
  const mesh = await createAuthority('mesh');
  const publicCa = await createAuthority('public');
  const directory = temporaryDirectory();
  const caFile = join(directory, 'ca.pem');
  writeFileSync(caFile, publicCa.root);
  const hostsFile = join(directory, 'hosts');
  writeFileSync(hostsFile, '127.0.0.1 localhost\n');
  const workload = await startWorkload(
    await mesh.issue('spiffe://cluster.local/ns/shop/sa/orders'),
    mesh.root,
    options.onConnection ?? echoHeads,
  );
  const services = options.services ?? [service()];
  const edge = await startEdge(
    await publicCa.issue('localhost'),
    mesh.root,
    new Map(services.map(({ host, port }) => [`${host}:${port}`, workload.port])),
  );
  const broker = await startBroker(
    await publicCa.issue('localhost'),
    mesh,
    { host: 'localhost', port: edge.port },
    services,
  );
  options.adjust?.(broker);
  cleanups.push(
    () => workload.close(),
    () => edge.close(),
    () => broker.close(),
  );
  const { config, start } = await agentConfigFor(directory, broker.url, caFile, hostsFile, options);
  const authorities = { mesh, public: publicCa };
  return { config, broker, edge, workload, authorities, hostsFile, runtimeDirectory: config.runtimeDirectory, start };
}

/** Starts only an agent, for a broker that the test has started. */
export async function agentAt(broker: string, publicRoot: string): Promise<RunningAgent> {
  const directory = temporaryDirectory();
  const caFile = join(directory, 'ca.pem');
  writeFileSync(caFile, publicRoot);
  const hostsFile = join(directory, 'hosts');
  writeFileSync(hostsFile, '');
  return (await agentConfigFor(directory, broker, caFile, hostsFile)).start();
}

function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'agent-'));
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

async function agentConfigFor(
  directory: string,
  broker: string,
  caFile: string,
  hostsFile: string,
  { log, mayListenOn }: WorldOptions = {},
) {
  const envoy = await testEnvoy();
  const surroundings: HostEnvironment = {
    env: { CODESPACES: 'true', GITHUB_TOKEN: 'proof', CODESPACE_NAME: 'fluffy-8412' },
    readText: () => undefined,
    sharedDirectory: '/nowhere',
  };
  const config = agentConfig({ broker, caFile, hostsFile, runtimeDirectory: join(directory, 'run'), envoy }, {});
  const start = async () => {
    const agent = await runAgent(config, { surroundings, ...(log && { log }), ...(mayListenOn && { mayListenOn }) });
    cleanups.push(() => agent.close());
    return agent;
  };
  return { config, start };
}

/** Address of the first service. Waits for it: on a slow machine the agent is ready before Envoy listens. */
export async function addressOf({ agent }: Pick<World, 'agent'>): Promise<string> {
  const address = async () => (await agent.status()).services[0]!.address;
  await expect.poll(address).toBeDefined();
  return (await address())!;
}

/** Responds to every request on a keep-alive connection with the received head, and to /admin like Envoy's RBAC. */
export function echoHeads(socket: TLSSocket): void {
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1');
    for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
      const head = text.slice(0, end + 4);
      text = text.slice(end + 4);
      socket.write(
        head.startsWith('GET /admin')
          ? 'HTTP/1.1 403 Forbidden\r\ncontent-length: 19\r\ncontent-type: text/plain\r\n\r\nRBAC: access denied'
          : `HTTP/1.1 200 OK\r\ncontent-length: ${head.length}\r\n\r\n${head}`,
      );
    }
  });
  socket.on('end', () => socket.end());
}

/** Sends a GET like a program in the workspace, with the Host header of orders.shop:8080. */
export function request(host: string, port: number, path: string, headers: Record<string, string> = {}, agent?: Agent) {
  return new Promise<{ status: number; body: string; headers: IncomingHttpHeaders }>((resolve, reject) => {
    get(
      { host, port, path, headers: { host: 'orders.shop:8080', ...headers }, ...(agent ? { agent } : {}) },
      (response) => {
        let body = '';
        response.on('data', (chunk) => {
          body += chunk;
        });
        response.on('end', () => resolve({ status: response.statusCode!, body, headers: response.headers }));
        response.on('error', reject);
      },
    ).on('error', reject);
  });
}
