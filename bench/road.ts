/**
 * The whole road, side by side in one run: a Codespace through agent, edge, mesh gateway and sidecar, against a workspace
 * with a stock Istio sidecar that goes straight to the pod. Same service, same token on every request, same load
 * generator, taken in turns; medians of the rounds.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { AgentStatus } from '@meshpass/agent';
import { type Lab, upLab } from '@meshpass/lab';
import { type Meshpass, startMeshpass } from '@meshpass/lab/meshpass';
import { startRogue } from '@meshpass/lab/rogue/drive';
import { standIns } from '@meshpass/lab/stand-ins';
import type { BulkFigures, RequestFigures } from './load.ts';
import { median } from './median.ts';

export interface Figures {
  /** Launch to first 200, ms. */
  readonly firstMs: number;
  readonly single: { readonly perSecond: number; readonly medianMicros: number };
  readonly sixteen: { readonly perSecond: number; readonly medianMicros: number };
  readonly bulkMegabytesPerSecond: number;
  /** After all of it: the agent, or pilot-agent with its Envoy. Resident megabytes. */
  readonly memoryMegabytes: number;
}

export interface RoadResult {
  readonly stock: Figures;
  readonly meshpass: Figures;
  readonly rounds: number;
}

export interface RoadOptions {
  readonly rounds: number;
  /** Of one measurement. */
  readonly seconds: number;
  readonly progress: (line: string) => void;
}

const HERE = (file: string) => fileURLToPath(new URL(file, import.meta.url));
const SERVICE = ['orders.shop', '8080'] as const;
const BULK_BYTES = 500_000_000;

export async function benchRoad({ rounds, seconds, progress }: RoadOptions): Promise<RoadResult> {
  const lab = await upLab({ name: 'bench', with: ['stock'], progress });
  try {
    const meshpass = await startMeshpass(lab, { accessFile: HERE('access.yaml'), progress });
    const header = `x-meshpass-token: ${await identityToken(lab, meshpass)}`;
    const sides = {
      stock: await stockSide(lab, header),
      meshpass: await meshpassSide(lab, meshpass),
    };
    const names = ['stock', 'meshpass'] as const;
    const taken = { stock: [] as Measured[], meshpass: [] as Measured[] };
    for (let round = 1; round <= rounds; round++) {
      for (const name of round % 2 ? names : names.toReversed()) {
        progress(`round ${round} of ${rounds}: ${name}`);
        taken[name].push(await measure(lab, sides[name], seconds));
      }
    }
    return {
      rounds,
      stock: summary(taken.stock, sides.stock.memory()),
      meshpass: summary(taken.meshpass, sides.meshpass.memory()),
    };
  } finally {
    await lab.down();
  }
}

interface Side {
  readonly host: string;
  readonly headers: readonly string[];
  /** Ends what carries the traffic. */
  halt(): Promise<void>;
  /** Launches it anew. @returns when the launch began, ms since the epoch */
  launch(): Promise<number>;
  memory(): number;
}

interface Measured {
  readonly firstMs: number;
  readonly single: RequestFigures;
  readonly sixteen: RequestFigures;
  readonly bulk: BulkFigures;
}

async function measure(lab: Lab, side: Side, seconds: number): Promise<Measured> {
  const load = async <T>(mode: string, path: string, connections: number): Promise<T> => {
    const argv = [
      'node',
      HERE('load.ts'),
      mode,
      ...SERVICE,
      path,
      String(connections),
      String(seconds),
      ...side.headers,
    ];
    const { code, stdout, stderr } = await lab.exec(side.host, argv);
    if (code !== 0) throw new Error(`the load on ${side.host} failed: ${stderr}`);
    const figures = JSON.parse(stdout) as T & { failed: number };
    if (figures.failed > 0) throw new Error(`${figures.failed} requests from ${side.host} failed`);
    return figures;
  };
  const firstMs = await firstAnswer(lab, side);
  return {
    firstMs,
    single: await load<RequestFigures>('requests', '/orders/1', 1),
    sixteen: await load<RequestFigures>('requests', '/orders/1', 16),
    bulk: await load<BulkFigures>('bulk', `/bytes/${BULK_BYTES}`, 1),
  };
}

async function firstAnswer(lab: Lab, side: Side): Promise<number> {
  await side.halt();
  const poller = lab.spawn(side.host, ['node', HERE('first.ts'), ...SERVICE, '/orders/1', ...side.headers]);
  let said = '';
  const lines = (count: number) =>
    new Promise<string[]>((resolve, reject) => {
      const look = () => {
        const all = said.split('\n').slice(0, -1);
        if (all.length >= count) resolve(all);
      };
      poller.stdout?.on('data', look);
      poller.on('close', () => {
        look();
        reject(new Error('the poller ended early'));
      });
      look();
    });
  poller.stdout?.prependListener('data', (part: Buffer) => {
    said += part.toString();
  });
  await lines(1);
  const begin = await side.launch();
  const [, at] = await lines(2);
  return Number(at) - begin;
}

async function stockSide(lab: Lab, header: string): Promise<Side> {
  return {
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

async function meshpassSide(lab: Lab, meshpass: Meshpass): Promise<Side> {
  const codespace = await standIns(lab).github.createCodespace({ owner: 'alice', repository: 'acme/payments-api' });
  const env = {
    CODESPACES: 'true',
    CODESPACE_NAME: codespace.name,
    GITHUB_TOKEN: codespace.token,
    MESHPASS_BROKER: meshpass.brokerUrl,
    MESHPASS_CA_FILE: lab.testCa,
  };
  let pid = 0;
  return {
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
async function identityToken(lab: Lab, meshpass: Meshpass): Promise<string> {
  const codespace = await standIns(lab).github.createCodespace({ owner: 'alice', repository: 'acme/payments-web' });
  const rogue = startRogue(lab, 'github', meshpass.brokerUrl);
  const enrolled = await rogue.enrol({
    subject_token_type: 'urn:meshpass:token-type:github-codespace',
    subject_token: codespace.token,
    codespace_name: codespace.name,
  });
  if (enrolled.status !== 200) throw new Error(`no session for the stock side: ${enrolled.text}`);
  await rogue.token();
  const { identityToken: token } = await rogue.show();
  rogue.end();
  if (!token) throw new Error('no identity token for the stock side');
  return token;
}

function summary(all: readonly Measured[], memoryMegabytes: number): Figures {
  const of = (pick: (one: Measured) => number) => median(all.map(pick));
  return {
    firstMs: Math.round(of((one) => one.firstMs)),
    single: { perSecond: of((one) => one.single.perSecond), medianMicros: of((one) => one.single.medianMicros) },
    sixteen: { perSecond: of((one) => one.sixteen.perSecond), medianMicros: of((one) => one.sixteen.medianMicros) },
    bulkMegabytesPerSecond: of((one) => one.bulk.megabytesPerSecond),
    memoryMegabytes,
  };
}

/** Of every process in a host's network namespace whose program is one of these. */
function memoryIn(lab: Lab, host: string, programs: readonly string[]): number {
  const network = statSync(`/run/netns/${lab.hosts[host]!.netns}`).ino;
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry) && isIn(Number(entry), network, programs))
    .reduce((sum, pid) => sum + residentMegabytes(Number(pid)), 0);
}

function isIn(pid: number, network: number, programs: readonly string[]): boolean {
  try {
    const program = readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
    return statSync(`/proc/${pid}/ns/net`).ino === network && programs.includes(program);
  } catch {
    return false; // it ended meanwhile
  }
}

function residentMegabytes(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Math.round(Number(kilobytes) / 1024);
}

function now(): number {
  return performance.timeOrigin + performance.now();
}
