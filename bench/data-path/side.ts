/** Sides of the comparison: the component that carries a workspace's traffic, its path, and how it is launched. */
import { readFileSync } from 'node:fs';
import type { AgentStatus } from '@meshpass/agent/control/status';
import type { Lab } from '@meshpass/lab';
import { startAdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import { codespaceEnvironment, type Meshpass } from '@meshpass/lab/meshpass';
import { standIns } from '@meshpass/lab/stand-ins';
import { processesIn, type SideName } from './cpu.ts';
import { GATEWAY_ROAD, layGatewayRoad } from './gateway-road.ts';

export interface Side {
  readonly name: SideName;
  /** Hosts of the lab that run the programs. */
  readonly host: string;
  /** Service that the programs call. */
  readonly service: readonly [host: string, port: string];
  readonly headers: readonly string[];
  /** Ends what carries the traffic. */
  halt(): Promise<void>;
  /** Relaunches the side. @returns when the launch began, ms since the epoch */
  launch(): Promise<number>;
  /** Resident megabytes in the workspace, by part. */
  memory(): Readonly<Record<string, number>>;
}

const ORDERS = ['orders.shop', '8080'] as const;

/** Two roads of one sidecar. @param header the identity token, which its client must bring itself */
export async function stockSides(lab: Lab, header: string): Promise<readonly [straight: Side, gateway: Side]> {
  await layGatewayRoad(lab);
  const straight: Side = {
    name: 'straight',
    host: 'stock',
    service: ORDERS,
    headers: [header],
    halt: () => lab.kill('sidecar-stock'),
    launch: async () => {
      const begin = now();
      await lab.restart('sidecar-stock');
      return begin;
    },
    memory: () => ({ Envoy: memoryIn(lab, 'stock', 'envoy'), 'pilot-agent': memoryIn(lab, 'stock', 'pilot-agent') }),
  };
  return [straight, { ...straight, name: 'gateway', service: GATEWAY_ROAD }];
}

/** @param command the `meshpass` that the workspace runs */
export async function meshpassSide(lab: Lab, meshpass: Meshpass, command: string): Promise<Side> {
  const codespace = await standIns(lab).github.createCodespace({ owner: 'alice', repository: 'acme/payments-api' });
  const env = codespaceEnvironment(lab, meshpass, codespace);
  let pid = 0;
  return {
    name: 'meshpass',
    host: 'workspace',
    service: ORDERS,
    headers: [],
    halt: async () => void (await lab.exec('workspace', [command, 'down'])),
    launch: async () => {
      const begin = now();
      const { code, stdout, stderr } = await lab.exec('workspace', [command, 'up', '--output', 'json'], { env });
      if (code !== 0) throw new Error(`meshpass up failed: ${stderr}`);
      ({ pid } = JSON.parse(stdout) as AgentStatus);
      return begin;
    },
    memory: () => ({ agent: residentMegabytes(pid), Envoy: memoryIn(lab, 'workspace', 'envoy') }),
  };
}

/** For the stock sides. Lives five minutes: the rounds that it is for must be done by then. */
export async function identityToken(lab: Lab, meshpass: Meshpass): Promise<string> {
  const codespace = await standIns(lab).github.createCodespace({
    owner: 'alice',
    repository: 'acme/payments-web',
    host: 'github',
  });
  const adversary = startAdversarialClient(lab, 'github', meshpass.brokerUrl);
  const enrolled = await adversary.enrol({
    subject_token_type: 'urn:meshpass:token-type:github-codespace',
    subject_token: codespace.token,
    codespace_name: codespace.name,
  });
  if (enrolled.status !== 200) throw new Error(`no session for the stock side: ${enrolled.text}`);
  await adversary.token();
  const { identityToken: token } = await adversary.show();
  adversary.end();
  if (!token) throw new Error('no identity token for the stock side');
  return token;
}

function memoryIn(lab: Lab, host: string, program: string): number {
  return processesIn(lab, host, [program]).reduce((sum, pid) => sum + residentMegabytes(pid), 0);
}

function residentMegabytes(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Math.round(Number(kilobytes) / 1024);
}

function now(): number {
  return performance.timeOrigin + performance.now();
}
