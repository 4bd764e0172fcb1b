/** `npm run bench -- feature`: how long a developer waits in a Codespace whose image was prebuilt with the Feature. */
import { mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { copyDebianRoot, installFeature } from '@meshpass/lab/devcontainer/root';
import { standIns } from '@meshpass/lab/stand-ins';
import { prepareFeature } from './prepare.ts';
import { asNew, type Started, startToFirstAnswer } from './start.ts';
import { WORLDS } from './worlds.ts';

export interface FeatureOptions {
  readonly on: keyof typeof WORLDS;
  readonly runs: number;
  readonly progress: (line: string) => void;
}

export interface FeatureResult {
  readonly on: keyof typeof WORLDS;
  readonly starts: readonly (Started['milliseconds'] & {
    /** Load average of the machine over a minute, at the start. */
    readonly load: number;
  })[];
}

/** Milliseconds, median. */
const GOAL = 3_000;

export async function benchFeature({ on, runs, progress }: FeatureOptions): Promise<FeatureResult> {
  const feature = await prepareFeature();
  const work = mkdtempSync(join(tmpdir(), 'meshpass-roots-'));
  const world = await WORLDS[on](progress);
  try {
    const root = join(work, 'bookworm');
    await copyDebianRoot('bookworm', root, progress);
    const installed = await installFeature(root, feature.folder, { BROKER: world.brokerUrl, MIRROR: feature.mirror });
    if (installed.code !== 0) throw new Error(installed.stderr);
    const starts = [];
    // The first only fills the page cache.
    for (let run = 0; run <= runs; run++) {
      asNew(root);
      const [load = 0] = loadavg();
      const { github } = standIns(world.ground);
      const codespace = await github.createCodespace({ owner: 'alice', repository: 'acme/payments-api' });
      const { container, milliseconds } = await startToFirstAnswer(world.ground, feature, root, codespace);
      await container.stop();
      if (run > 0) starts.push({ ...milliseconds, load });
      progress(`start ${run} of ${runs}: ${Math.round(milliseconds.firstAnswer)} ms`);
    }
    return { on, starts };
  } finally {
    feature.close();
    rmSync(work, { recursive: true, force: true });
    await world.close();
  }
}

export function featureMissed(result: FeatureResult): string[] {
  const median = quantile(result, 'firstAnswer', 0.5);
  return median <= GOAL ? [] : [`container start to first answer is ${Math.round(median)} ms, not at most ${GOAL}`];
}

export function featureTable(result: FeatureResult): string[] {
  const row = (label: string, shown: (q: number) => string) =>
    `  ${label.padEnd(34)} ${[0, 0.5, 1].map((q) => shown(q).padStart(9)).join('')}`;
  const time = (label: string, part: keyof Started['milliseconds']) =>
    row(label, (q) => `${Math.round(quantile(result, part, q))} ms`);
  return [
    `\nA prebuilt dev container ${result.on === 'lab' ? 'in the lab' : 'on a cluster'}, ${result.starts.length} starts: least, median, most:`,
    time('first process runs', 'containerStarted'),
    time('postStartCommand has ended', 'up'),
    time('first answer of the mesh, by name', 'firstAnswer'),
    row('load of the machine', (q) => quantile(result, 'load', q).toFixed(1)),
  ];
}

function quantile({ starts }: FeatureResult, part: keyof FeatureResult['starts'][number], q: number): number {
  const sorted = starts.map((one) => one[part]).sort((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  return (sorted[Math.floor(at)]! + sorted[Math.ceil(at)]!) / 2;
}
