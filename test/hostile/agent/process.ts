/** Agents as processes of their own, each at a broker that may spoil one answer. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { agentConfig } from '@meshpass/agent/control/config';
import type { AgentStatus } from '@meshpass/agent/control/status';
import { down } from '@meshpass/agent/process/down';
import { launchAgent } from '@meshpass/agent/process/launch';
import { MeshpassError } from '@meshpass/identity';
import type { Written } from '../../../packages/agent/test/configuration.ts';
import { createAuthority, service, startEdge, startWorkload, testEnvoy } from '../../../packages/agent/test/harness.ts';
import { startBroker, type TamperedAnswer, type TestBroker } from '../../../packages/agent/test/test-broker.ts';
import type { Outcome } from '../area.ts';

export interface Workspace {
  readonly broker: TestBroker;
  /** A directory for one agent. */
  readonly place: () => string;
  readonly caFile: string;
  /** Path of the Envoy that the agents run. */
  readonly envoy: string;
  readonly close: () => Promise<void>;
}

export type Spoil = (answer: TamperedAnswer) => void;
/** Observable state of an agent that became ready. */
export interface Seen {
  readonly hosts: string;
  readonly configuration: AgentStatus['configuration'];
}

const HOSTS = '127.0.0.1 localhost\n';
export const CALLS = { session: 'POST /token', token: 'POST /token', certificates: 'POST /certificates' } as const;

/** Starts an agent and takes it down again. @param of which answer is spoiled */
export async function tried(
  { broker, place, caFile, envoy }: Workspace,
  of: keyof typeof CALLS,
  spoil: Spoil,
  accepted: (seen: Seen) => boolean = () => true,
): Promise<Outcome> {
  broker.tamper = (call, answer) => {
    const isSession = answer.json?.session !== undefined;
    if (call === CALLS[of] && isSession === (of === 'session') && answer.status === 200) spoil(answer);
  };
  const directory = place();
  const hostsFile = join(directory, 'hosts');
  writeFileSync(hostsFile, HOSTS);
  const config = agentConfig(
    { broker: broker.url, caFile, hostsFile, runtimeDirectory: join(directory, 'run'), envoy },
    {},
  );
  const env = { ...process.env, CODESPACES: 'true', GITHUB_TOKEN: 'proof', CODESPACE_NAME: 'fluffy-8412' };
  try {
    const { services, configuration } = await launchAgent(config, { env });
    const hosts = readFileSync(hostsFile, 'utf8');
    const names = services.map((one) => one.names);
    const answer = `ready with ${JSON.stringify({ names, refused: configuration.refused })}`;
    return { accepted: accepted({ hosts, configuration }), answer };
  } catch (thrown) {
    const { code, message } = thrown as MeshpassError;
    const untouched = readFileSync(hostsFile, 'utf8') === HOSTS;
    // An agent that was ended by the answer, and did not refuse it, was let down as well.
    const refused = thrown instanceof MeshpassError && code !== 'agent_not_running' && code !== 'internal' && untouched;
    return { accepted: !refused, answer: `${code}: ${message}` };
  } finally {
    await down(config).catch(() => {});
  }
}

/** Starts an agent whose first configuration is spoiled, and takes it down again. Accepted: Envoy runs with that configuration. */
export async function triedConfiguration(
  workspace: Workspace,
  spoil: (configuration: Written) => void,
): Promise<Outcome> {
  workspace.broker.spoilConfiguration = spoil;
  try {
    const isInForce = ({ configuration: { version, refused, rejected } }: Seen) =>
      version !== undefined && refused.length === 0 && rejected.length === 0;
    return await tried(workspace, 'session', () => {}, isInForce);
  } finally {
    workspace.broker.spoilConfiguration = undefined;
  }
}

export async function openWorkspace(): Promise<Workspace> {
  const [meshCa, publicCa] = await Promise.all([createAuthority('mesh'), createAuthority('public')]);
  const root = mkdtempSync(join(tmpdir(), 'hostile-broker-'));
  const caFile = join(root, 'ca.pem');
  writeFileSync(caFile, publicCa.root);
  const workload = await startWorkload(
    await meshCa.issue('spiffe://cluster.local/ns/shop/sa/orders'),
    meshCa.root,
    () => {},
  );
  const { host, port } = service();
  const edge = await startEdge(
    await publicCa.issue('localhost'),
    meshCa.root,
    new Map([[`${host}:${port}`, workload.port]]),
  );
  const address = { host: 'localhost', port: edge.port };
  const broker = await startBroker(await publicCa.issue('localhost'), meshCa, address, [service()]);
  let places = 0;
  return {
    broker,
    caFile,
    envoy: await testEnvoy(),
    place: () => mkdtempSync(join(root, `${places++}-`)),
    close: async () => {
      for (const one of [broker, edge, workload]) one.close();
      rmSync(root, { recursive: true, force: true });
    },
  };
}
