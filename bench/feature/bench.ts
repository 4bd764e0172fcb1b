/** `npm run bench -- feature`: how long a developer waits in a Codespace whose image was prebuilt with the Feature. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { upLab } from '@meshpass/lab';
import { BROKER_URL } from '@meshpass/lab/broker/rights';
import { copyDebianRoot, installFeature } from '@meshpass/lab/devcontainer/root';
import { startMeshpass } from '@meshpass/lab/meshpass';
import { standIns } from '@meshpass/lab/stand-ins';
import { prepareFeature } from './prepare.ts';
import { asNew, type Started, startToFirstAnswer } from './start.ts';

export type FeatureResult = readonly Started['milliseconds'][];

/** Milliseconds, median. */
const GOAL = 3_000;

export async function benchFeature(runs: number, progress: (line: string) => void): Promise<FeatureResult> {
  const lab = await upLab({ progress });
  const players = standIns(lab);
  await players.github.reset();
  const feature = await prepareFeature();
  const work = mkdtempSync(join(tmpdir(), 'meshpass-roots-'));
  const meshpass = await startMeshpass(lab, { progress });
  try {
    const root = join(work, 'bookworm');
    await copyDebianRoot('bookworm', root, progress);
    const installed = await installFeature(root, feature.folder, { BROKER: BROKER_URL, MIRROR: feature.mirror });
    if (installed.code !== 0) throw new Error(installed.stderr);
    const results = [];
    // The first only fills the page cache.
    for (let run = 0; run <= runs; run++) {
      asNew(root);
      const codespace = await players.github.createCodespace({ owner: 'alice', repository: 'acme/payments-api' });
      const { container, milliseconds } = await startToFirstAnswer(lab, meshpass, feature, root, codespace);
      await container.stop();
      if (run > 0) results.push(milliseconds);
      progress(`start ${run} of ${runs}: ${Math.round(milliseconds.firstAnswer)} ms`);
    }
    return results;
  } finally {
    feature.close();
    rmSync(work, { recursive: true, force: true });
    await meshpass.stop();
    await lab.down();
  }
}

export function featureMissed(results: FeatureResult): string[] {
  const median = quantile(results, 'firstAnswer', 0.5);
  return median <= GOAL ? [] : [`container start to first answer is ${Math.round(median)} ms, not at most ${GOAL}`];
}

export function featureTable(results: FeatureResult): string[] {
  const row = (label: string, part: keyof FeatureResult[number]) =>
    `  ${label.padEnd(34)} ${[0, 0.5, 1].map((q) => `${Math.round(quantile(results, part, q))} ms`.padStart(9)).join('')}`;
  return [
    `\nA prebuilt dev container, ${results.length} starts: least, median, most:`,
    row('first process runs', 'containerStarted'),
    row('postStartCommand has ended', 'up'),
    row('first answer of the mesh, by name', 'firstAnswer'),
  ];
}

function quantile(results: FeatureResult, part: keyof FeatureResult[number], q: number): number {
  const sorted = results.map((one) => one[part]).sort((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  return (sorted[Math.floor(at)]! + sorted[Math.ceil(at)]!) / 2;
}
