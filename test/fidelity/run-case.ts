/** Puts a rule into force, makes the same call from every side, takes the rule away, and makes it again. */
import type { Callers } from '../callers/call-from.ts';
import type { Side } from '../callers/calls.ts';
import type { Case, World } from './case.ts';
import { worldOf } from './world.ts';

/** What a side saw. */
export interface Seen {
  readonly with: string;
  readonly without: string;
}

export interface CaseResult {
  readonly case: Case;
  readonly seen: Partial<Readonly<Record<Side, Seen>>>;
}

/** A rule takes less than a second to reach a proxy; a machine that is busy with other tests needs more. */
const PATIENCE_MS = 20_000;

/** Leaves the mesh without the rule, however it ends. */
export async function runCase(callers: Callers, one: Case): Promise<CaseResult> {
  const { kubernetes } = callers.lab;
  const worlds = callers.sides.map((side) => [side, worldOf(callers, side)] as const);
  const takeAway = () => (one.takeAway ? kubernetes.apply(...one.takeAway) : kubernetes.remove(...one.apply));
  const withRule = new Map<Side, string>();
  const seen: Partial<Record<Side, Seen>> = {};
  try {
    await kubernetes.apply(...one.apply);
    for (const [side, world] of worlds)
      withRule.set(side, await settle(world, one, (outcome) => outcome === one.expected));
    await takeAway();
    for (const [side, world] of worlds) {
      const before = withRule.get(side)!;
      seen[side] = { with: before, without: await settle(world, one, (outcome) => outcome !== before) };
    }
  } finally {
    await takeAway();
    if (one.takeAway) await kubernetes.remove(...one.takeAway.filter(({ metadata }) => metadata.name === 'fidelity'));
  }
  return { case: one, seen };
}

/** Repeats the call until its outcome holds twice in a row. @returns what was seen last */
async function settle(world: World, one: Case, ok: (outcome: string) => boolean): Promise<string> {
  const deadline = Date.now() + PATIENCE_MS;
  let held = 0;
  for (;;) {
    const outcome = await one.observe(world).catch((error: Error) => `failed: ${error.message}`);
    held = ok(outcome) ? held + 1 : 0;
    if (held === 2 || Date.now() > deadline) return outcome;
  }
}
