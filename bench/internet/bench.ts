/**
 * Cost of the internet: a Codespace through the edge, and a stock sidecar through the east-west gateway, each over a line with a
 * round trip and a loss, and beside them one plain TLS connection over the same line.
 */
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Lab, type Line, upLab } from '@meshpass/lab';
import { type Meshpass, startMeshpass } from '@meshpass/lab/meshpass';
import { firstAnswer, loadBulk } from '../data-path/bench.ts';
import { installPublished } from '../data-path/published.ts';
import { identityToken, meshpassSide, type Side, stockSides } from '../data-path/side.ts';
import { median } from '../median.ts';

export interface InternetFigures {
  /** Launch to first 200, ms. */
  readonly upMs: number;
  /** The first call of a workspace that is up and has been at rest, ms. */
  readonly firstCallMs: number;
  /** Later calls, each over a connection of its own from the program to the workspace's proxy, ms. */
  readonly newConnectionMs: number;
  /** Later calls over one connection, ms. */
  readonly keptConnectionMs: number;
  readonly bulkMegabytesPerSecond: number;
  /** Bare TLS connection over the same line. */
  readonly plainTlsMegabytesPerSecond: number;
}

export type InternetSide = 'gateway' | 'meshpass';

export interface LineResult {
  readonly line: Required<Line>;
  readonly sides: Readonly<Record<InternetSide, InternetFigures>>;
}

export interface InternetOptions {
  readonly lines: readonly Required<Line>[];
  readonly rounds: number;
  readonly progress: (line: string) => void;
}

const HERE = (file: string) => fileURLToPath(new URL(file, import.meta.url));
const LATER_CALLS = 9;
/** Time after `up` in which its own work ends. */
const REST_MS = 1500;
const BULK_BYTES = 50_000_000;
/** Ratio of bulk to plain TLS, measured in turns. */
const BULK_TURNS = 2;
const PLAIN_TLS_PORT = 9444;
const PLAIN_TLS_HOST = 'edge.meshpass.test';
/** Istio's own user, whose connections a sidecar leaves alone. */
const PAST_THE_SIDECAR = 1337;

/** @param text as in `20,80/1`: round trips in ms, with the loss in percent behind a stroke */
export function readLines(text: string): readonly Required<Line>[] {
  return text.split(',').map((one) => {
    const [roundTrip, loss = '0'] = one.split('/');
    return { roundTripMs: Number(roundTrip), lossPercent: Number(loss) };
  });
}

export async function benchInternet({ lines, rounds, progress }: InternetOptions): Promise<readonly LineResult[]> {
  const published = installPublished(progress);
  const lab = await upLab({ name: 'bench', with: ['stock'], progress });
  let plain: ChildProcess | undefined;
  try {
    const accessFile = HERE('../access.yaml');
    const meshpass = await startMeshpass(lab, { accessFile, progress });
    plain = await servePlainTls(lab);
    const ours = await meshpassSide(lab, meshpass, published);
    const results: LineResult[] = [];
    for (const line of lines) results.push(await measureLine(lab, meshpass, ours, line, rounds, progress));
    return results;
  } finally {
    plain?.kill();
    await lab.down();
  }
}

async function measureLine(
  lab: Lab,
  meshpass: Meshpass,
  ours: Side,
  line: Required<Line>,
  rounds: number,
  progress: InternetOptions['progress'],
): Promise<LineResult> {
  const taken: Record<InternetSide, InternetFigures[]> = { gateway: [], meshpass: [] };
  for (let round = 1; round <= rounds; round++) {
    // Requests another token, which lives five minutes.
    const [, gateway] = await stockSides(lab, `x-meshpass-token: ${await identityToken(lab, meshpass)}`);
    for (const side of [gateway, ours]) {
      const loss = line.lossPercent ? `, ${line.lossPercent} % lost` : '';
      progress(`a round trip of ${line.roundTripMs} ms${loss}, round ${round} of ${rounds}: ${side.name}`);
      await lab.delay(side.host, line);
      try {
        taken[side.name as InternetSide].push(await measure(lab, side));
      } finally {
        await lab.delay(side.host);
      }
    }
  }
  return { line, sides: { gateway: summary(taken.gateway), meshpass: summary(taken.meshpass) } };
}

async function measure(lab: Lab, side: Side): Promise<InternetFigures> {
  const upMs = await firstAnswer(lab, side);
  await side.halt();
  await side.launch();
  await sleep(REST_MS);
  const [firstCallMs] = await calls(lab, side, 'new', 1);
  const newConnectionMs = median(await calls(lab, side, 'new', LATER_CALLS));
  const keptConnectionMs = median(await calls(lab, side, 'kept', LATER_CALLS));
  const bulk: number[] = [];
  const plainTls: number[] = [];
  await loadBulk(lab, side, BULK_BYTES); // finds its speed, as the plain connection does
  for (let turn = 1; turn <= BULK_TURNS; turn++) {
    const { bytes, seconds } = await loadBulk(lab, side, BULK_BYTES);
    bulk.push(bytes / seconds / 1e6);
    plainTls.push(await fetchPlainTls(lab, side));
  }
  return {
    upMs,
    firstCallMs: firstCallMs!,
    newConnectionMs,
    keptConnectionMs,
    bulkMegabytesPerSecond: median(bulk),
    plainTlsMegabytesPerSecond: median(plainTls),
  };
}

async function calls(lab: Lab, side: Side, mode: 'new' | 'kept', count: number): Promise<readonly number[]> {
  const aim = [mode, ...side.service, '/orders/1', String(count), ...side.headers];
  return JSON.parse(await output(lab, side.host, ['node', HERE('calls.ts'), ...aim])) as number[];
}

async function servePlainTls(lab: Lab): Promise<ChildProcess> {
  const file = join(lab.dir, 'tls', PLAIN_TLS_HOST);
  const argv = ['node', HERE('plain-tls.ts'), 'serve', String(PLAIN_TLS_PORT), `${file}.crt`, `${file}.key`];
  const server = lab.spawn('meshpass', argv);
  await new Promise<void>((resolve, reject) => {
    server.stdout?.once('data', () => resolve());
    server.once('close', () => reject(new Error('the plain TLS server ended')));
  });
  return server;
}

async function fetchPlainTls(lab: Lab, side: Side): Promise<number> {
  const argv = ['node', HERE('plain-tls.ts'), 'fetch', PLAIN_TLS_HOST, String(PLAIN_TLS_PORT), String(BULK_BYTES)];
  const seconds = Number(await output(lab, side.host, argv, side.host === 'stock' ? PAST_THE_SIDECAR : undefined));
  return BULK_BYTES / seconds / 1e6;
}

async function output(lab: Lab, host: string, argv: readonly string[], uid?: number): Promise<string> {
  const { code, stdout, stderr } = await lab.exec(host, argv, uid === undefined ? {} : { uid });
  if (code !== 0) throw new Error(`${argv.slice(0, 3).join(' ')} on ${host} failed: ${stderr}`);
  return stdout;
}

function summary(all: readonly InternetFigures[]): InternetFigures {
  const names = Object.keys(all[0]!) as (keyof InternetFigures)[];
  return Object.fromEntries(
    names.map((name) => [name, Math.round(median(all.map((one) => one[name])) * 10) / 10]),
  ) as unknown as InternetFigures;
}
