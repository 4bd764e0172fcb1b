/** Puts a rule into force, makes the same call from every side, takes the rule away, and makes it again. */
import type { KubeObject, Kubernetes } from '@meshpass/lab';
import type { Callers } from '../callers/call-from.ts';
import type { Side } from '../callers/calls.ts';
import type { Case, World } from './case.ts';
import { DIFFERENCES } from './differences.ts';
import { worldOf } from './world.ts';

/** Observations of a side. */
export interface Seen {
  readonly with: string;
  readonly without: string;
}

export interface CaseResult {
  readonly case: Case;
  readonly seen: Partial<Readonly<Record<Side, Seen>>>;
}

/**
 * A rule takes less than a second to reach a proxy. One that changes the service's listener lets connections of other proxies, which are
 * pooled, continue under the old one until they are drained: 45 s.
 */
const PATIENCE_MS = 60_000;
const DIFFERENCE_MS = 5_000;

/** A call that could not be made is no outcome. */
const FAILED = /^failed: /;

/** Leaves the mesh without the rule, however it ends. */
export async function runCase(callers: Callers, one: Case): Promise<CaseResult> {
  const { kubernetes } = callers.lab;
  const worlds = callers.sides.map((side) => [side, worldOf(callers, side)] as const);
  const takeAway = (): Promise<void> =>
    one.takeAway ? kubernetes.apply(...one.takeAway) : removeAll(kubernetes, one.apply);
  const withRule = new Map<Side, string>();
  const seen: Partial<Record<Side, Seen>> = {};
  try {
    await kubernetes.apply(...one.apply);
    for (const [side, world] of worlds)
      withRule.set(side, await settle(world, one, (outcome) => outcome === one.expected, patienceFor(one, side)));
    await takeAway();
    if (one.grantWithout) await callers.grant(one.grantWithout);
    for (const [side, world] of worlds) {
      const before = withRule.get(side)!;
      seen[side] = { with: before, without: await settle(world, one, (outcome) => outcome !== one.expected) };
    }
  } finally {
    await takeAway();
    if (one.grantWithout) await callers.grant();
    if (one.restore) await kubernetes.apply(...one.restore);
    else if (one.takeAway) await kubernetes.remove(...one.takeAway);
  }
  return { case: one, seen };
}

/** The last first: a route to a subset goes before the subset. */
async function removeAll(kubernetes: Kubernetes, objects: readonly KubeObject[]): Promise<void> {
  for (const object of objects.toReversed()) await kubernetes.remove(object);
}

/** Known differences are not awaited. */
function patienceFor({ feature }: Case, side: Side): number {
  return side === 'codespace' && feature in DIFFERENCES ? DIFFERENCE_MS : PATIENCE_MS;
}

/** Repeats the call until its outcome holds. @returns the last outcome */
async function settle(
  world: World,
  one: Case,
  ok: (outcome: string) => boolean,
  patienceMs = PATIENCE_MS,
): Promise<string> {
  const deadline = Date.now() + patienceMs;
  let held = 0;
  for (;;) {
    const outcome = await one.observe(world).catch((error: Error) => `failed: ${error.message}`);
    held = ok(outcome) && !FAILED.test(outcome) ? held + 1 : 0;
    if (held === (one.once ? 1 : 2) || Date.now() > deadline) return outcome;
  }
}

/** Violations in a result, one line each; empty if there are none. */
export function violationsOf({ case: one, seen }: CaseResult): string[] {
  return Object.entries(seen).flatMap(([side, outcome]) => {
    const known = side === 'codespace' && one.feature in DIFFERENCES;
    if (known)
      return outcome.with === one.expected ? [`${side}: is listed as a difference, but has the outcome of a pod`] : [];
    return [
      ...(outcome.with === one.expected ? [] : [`${side}: "${outcome.with}" in place of "${one.expected}"`]),
      ...(outcome.without !== one.expected ? [] : [`${side}: "${outcome.without}" without the rule, too`]),
      ...(FAILED.test(outcome.without) ? [`${side}: ${outcome.without}`] : []),
    ];
  });
}
