/** `npm run chaos -- [--seed N] [--minutes N] [--sessions N]`: exit code 1 where something was found that must not be. */
import { parseArgs } from 'node:util';
import { upLab } from '@meshpass/lab';
import { runChaos } from './run.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    minutes: { type: 'string', default: '5' },
    sessions: { type: 'string', default: '500' },
  },
});
const progress = (line: string) => process.stderr.write(`${new Date().toISOString().slice(11, 23)} ${line}\n`);
const lab = await upLab({ with: ['workspace-2'], progress });
try {
  const [seed, seconds, sessions] = [Number(values.seed), Number(values.minutes) * 60, Number(values.sessions)];
  const { events, checked, refusals, problems } = await runChaos({ lab, seed, seconds, sessions, progress });
  const list = (counts: Readonly<Record<string, number>>) =>
    Object.entries(counts)
      .map(([what, count]) => `  ${String(count).padStart(7)}  ${what}`)
      .join('\n');
  console.log(
    `\nSeed ${seed}, ${values.minutes} minutes, ${sessions} sessions at a time.\n\nDone to them:\n${list(events)}`,
  );
  console.log(`\nFailures by source, all retried:\n${list(refusals)}`);
  console.log(`\nLooked at afterwards:\n${list(checked)}\n`);
  for (const problem of problems) console.log(`✗ ${problem}`);
  console.log(problems.length === 0 ? 'Nothing was found that must not be.' : `${problems.length} problems.`);
  process.exitCode = problems.length === 0 ? 0 : 1;
} finally {
  await lab.down();
}
