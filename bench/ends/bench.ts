/**
 * How long a connection through the edge outlives the cause of its session's end: for every cause and every kind of connection, on
 * the lab's real mesh.
 *   npm run bench -- ends [--runs N] [--lapses N] [--output json]
 */
import { upLab } from '@meshpass/lab';
import { median } from '../median.ts';
import { ACTIVE_CAUSES } from './causes.ts';
import { KINDS } from './client.ts';
import { LAPSE_CAUSES } from './lapse.ts';
import { type EndsRow, openWorld } from './world.ts';

const ACTIVE_GOAL = { medianMs: 1_000, worstMs: 2_000 };

export interface EndsOptions {
  readonly runs: number;
  readonly lapses: number;
  /** Only causes whose name has one of these words in it, separated by commas. */
  readonly only?: string | undefined;
  readonly progress: (line: string) => void;
}

export async function benchEnds({ runs, lapses: lapseRuns, only = '', progress }: EndsOptions): Promise<EndsRow[]> {
  const isWanted = ({ cause }: { readonly cause: string }) => only.split(',').some((words) => cause.includes(words));
  const lab = await upLab({ with: ['workspace-2'], progress });
  const rows: EndsRow[] = [];
  try {
    const causes = ACTIVE_CAUSES.filter(isWanted);
    if (causes.length > 0) {
      const world = await openWorld(lab, runs, ['--github-sweep', '1', '--github-members', '2']);
      for (const { cause, from, extra, run } of causes) {
        progress(`${cause}: ${runs} runs`);
        const { times, more } = await run(world, runs);
        rows.push({ cause, from, times, goal: ACTIVE_GOAL });
        progress(endsTable(rows).at(-1)!);
        if (more && extra) rows.push({ cause, from: extra, times: more, goal: undefined });
      }
      world.workspaces.kill();
      await world.meshpass.stop();
    }
    for (const { cause, from, goal, run } of LAPSE_CAUSES.filter(isWanted)) {
      progress(`${cause}: ${lapseRuns} runs`);
      rows.push({ cause, from, goal, times: await run(lab, lapseRuns) });
      progress(endsTable(rows).at(-1)!);
    }
  } finally {
    await lab.down();
  }
  return rows;
}

/** Misses of goals, as text. */
export function endsMissed(rows: readonly EndsRow[]): string[] {
  return rows.flatMap(({ cause, from, times, goal }) =>
    Object.entries(times).flatMap(([kind, values]) => {
      const what = `${cause}, ${kind} (from ${from})`;
      const dead = values.filter((value) => value !== null);
      if (dead.length < values.length) return [`${what}: ${values.length - dead.length} were still alive`];
      if (values.length === 0) return [`${what}: nothing was measured`];
      if (!goal) return [];
      const worst = Math.max(...dead);
      if (median(dead) > goal.medianMs) return [`${what}: median ${median(dead)} ms, not within ${goal.medianMs}`];
      return worst > goal.worstMs ? [`${what}: worst ${worst} ms, not within ${goal.worstMs}`] : [];
    }),
  );
}

/** A table in Markdown: median and worst, ms. */
export function endsTable(rows: readonly EndsRow[]): string[] {
  const cell = (values: readonly (number | null)[] | undefined) => {
    if (!values) return '';
    const dead = values.filter((value) => value !== null);
    if (dead.length < values.length) return `${values.length - dead.length} ALIVE`;
    return dead.length === 0 ? 'none' : `${Math.round(median(dead))} / ${Math.max(...dead)}`;
  };
  const runs = ({ times }: EndsRow) => Math.max(...Object.values(times).map((values) => values.length));
  return [
    `| Cause | counted from | runs | ${KINDS.join(' | ')} |`,
    `| --- | --- | --- | ${KINDS.map(() => '---').join(' | ')} |`,
    ...rows.map(
      (row) =>
        `| ${row.cause} | ${row.from} | ${runs(row)} | ${KINDS.map((kind) => cell(row.times[kind])).join(' | ')} |`,
    ),
  ];
}
