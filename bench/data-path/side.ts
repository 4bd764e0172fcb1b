/** The two sides of the comparison: who carries the traffic of a workspace, and how it is launched. */
import { readFileSync } from 'node:fs';
import type { AgentStatus } from '@meshpass/agent';
import type { Lab } from '@meshpass/lab';
import { startAdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import { codespaceEnvironment, type Meshpass } from '@meshpass/lab/meshpass';
import { standIns } from '@meshpass/lab/stand-ins';
import { processesIn } from './cpu.ts';

export interface Side {
  readonly name: 'stock' | 'meshpass';
  readonly host: string;
  readonly headers: readonly string[];
  /** Ends what carries the traffic. */
  halt(): Promise<void>;
  /** Launches it anew. @returns when the launch began, ms since the epoch */
  launch(): Promise<number>;
  memory(): number;
}

export async function stockSide(lab: Lab, header: string): Promise<Side> {
  return {
    name: 'stock',
    host: 'stock',
    headers: [header],
    halt: () => lab.kill('sidecar-stock'),
    launch: async () => {
      const begin = now();
      await lab.restart('sidecar-stock');
      return begin;
    },
    memory: () => memoryIn(lab, 'stock', ['pilot-agent', 'envoy']),
  };
}

export async function meshpassSide(lab: Lab, meshpass: Meshpass): Promise<Side> {
  const codespace = await standIns(lab).github.createCodespace({ owner: 'alice', repository: 'acme/payments-api' });
  const env = codespaceEnvironment(lab, meshpass, codespace);
  let pid = 0;
  return {
    name: 'meshpass',
    host: 'workspace',
    headers: [],
    halt: async () => void (await lab.exec('workspace', ['meshpass', 'down'])),
    launch: async () => {
      const begin = now();
      const { code, stdout, stderr } = await lab.exec('workspace', ['meshpass', 'up', '--output', 'json'], { env });
      if (code !== 0) throw new Error(`meshpass up failed: ${stderr}`);
      ({ pid } = JSON.parse(stdout) as AgentStatus);
      return begin;
    },
    memory: () => residentMegabytes(pid),
  };
}

/** For the stock side, whose client must bring the token itself. Lives five minutes: rounds must be done by then. */
export async function identityToken(lab: Lab, meshpass: Meshpass): Promise<string> {
  const codespace = await standIns(lab).github.createCodespace({
    ...{ owner: 'alice', repository: 'acme/payments-web', host: 'github' },
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

/** Of every process on a host whose program is one of these. */
function memoryIn(lab: Lab, host: string, programs: readonly string[]): number {
  return processesIn(lab, host, programs).reduce((sum, pid) => sum + residentMegabytes(pid), 0);
}

function residentMegabytes(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Math.round(Number(kilobytes) / 1024);
}

function now(): number {
  return performance.timeOrigin + performance.now();
}
