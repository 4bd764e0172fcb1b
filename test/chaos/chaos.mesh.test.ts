/** The short form of chaos (test/chaos/run.ts). The long one: `npm run chaos -- --seed N --minutes 5 --sessions 500`. */
import { upLab } from '@meshpass/lab';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { postgresIsThere } from '../../packages/broker/test/harness/postgres.ts';
import { removeOurs } from '../mesh.ts';
import { runChaos } from './run.ts';

/** Another one with CHAOS_SEED; a failure names the one to repeat. */
const SEED = Number(process.env.CHAOS_SEED ?? 20261124);

let lab: Awaited<ReturnType<typeof upLab>>;
beforeAll(async () => {
  lab = await upLab({ with: ['workspace-2'] });
});
afterAll(async () => {
  await removeOurs(lab.kubernetes);
  await lab.down();
});

it.skipIf(!postgresIsThere)(
  'after each kill, no ended session has a working credential, and no live one was cut',
  async () => {
    const log: string[] = [];
    const progress = (line: string) => log.push(`${new Date().toISOString()} ${line}`);
    const result = await runChaos({ lab, seed: SEED, seconds: 30, sessions: 16, progress });
    console.log(JSON.stringify({ ...result, problems: result.problems.length }));
    expect(result.problems, `seed ${SEED}\n${log.join('\n')}`).toEqual([]);
    for (const what of ['sessions that ended', 'refused: edge', 'refused: sidecar', 'live sessions', 'calls answered'])
      expect(result.checked[what], what).toBeGreaterThan(0);
  },
  600_000,
);
