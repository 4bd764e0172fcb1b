/**
 * The evaluator against the real thing: generated policies go through istiod to Envoy, generated calls are made at it, and
 * every verdict must be the evaluator's. `npm run differential` makes ten thousand of them.
 */
import { upLab } from '@meshpass/lab';
import type { Call, Decision } from '@meshpass/policy/evaluate/call';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Seen } from './differential/caller.ts';
import { generateCall } from './differential/generate-calls.ts';
import { authorizationPolicy, peerAuthentication, requestAuthentication } from './differential/generate-policies.ts';
import { type Random, randomFrom } from './differential/random.ts';
import { openRig, type Rig } from './differential/rig.ts';

const ROUNDS = Number(process.env.MESHPASS_DIFFERENTIAL_ROUNDS ?? 12);
const CALLS = Number(process.env.MESHPASS_DIFFERENTIAL_CALLS ?? 120);
const SEED = Number(process.env.MESHPASS_DIFFERENTIAL_SEED ?? 20261124);

let lab: Awaited<ReturnType<typeof upLab>>;
let rig: Rig;

beforeAll(async () => {
  lab = await upLab();
  rig = await openRig(lab);
});
afterAll(async () => {
  await rig?.close();
  await lab?.down();
});

describe('generated policies and calls', () => {
  it.each(Array.from({ length: ROUNDS }, (_, round) => round))('round %i', async (round) => {
    const random = randomFrom(SEED + round);
    const policies = policiesOf(random);
    const guard = await rig.enforce(policies);
    const disagreements: object[] = [];
    for (let left = CALLS; left > 0; left--) {
      const call = await generateCall(random, rig.world);
      const decision = guard.decide(call);
      const seen = await rig.see(guard, call);
      if (!agree(decision, seen)) disagreements.push(disagreement(call, decision, seen));
    }
    expect(disagreements.length, report(SEED + round, disagreements, policies)).toBe(0);
  });
});

function policiesOf(random: Random) {
  const many = (count: number, make: (name: string) => ReturnType<typeof authorizationPolicy>) =>
    Array.from({ length: count }, () => make(`p${counter++}`));
  let counter = 0;
  return [
    ...(random.chance(0.4) ? [peerAuthentication(random, 'mesh', 'mesh')] : []),
    ...(random.chance(0.4) ? [peerAuthentication(random, 'namespace', 'namespace')] : []),
    ...many(random.below(3), (name) => requestAuthentication(random, rig.world, name)),
    ...many(1 + random.below(5), (name) => authorizationPolicy(random, rig.world, name)),
  ];
}

/** One line each: what a regression case is made of. */
function report(seed: number, disagreements: readonly object[], policies: readonly object[]): string {
  const line = (object: object) =>
    JSON.stringify(object, (key, value) => (key === 'jwks' || key === 'apiVersion' ? undefined : value));
  return [`seed ${seed}`, ...disagreements.slice(0, 10).map(line), ...policies.map(line)].join('\n');
}

function agree({ allowed, status }: Decision, seen: Seen): boolean {
  if (allowed) return seen === 200 || seen === 'open';
  return status === undefined ? seen === 'closed' : seen === status;
}

function disagreement(call: Call, { rule, ...decision }: Decision, seen: Seen): object {
  const tokens = call.tokens?.map(({ claims, genuine }) => ({ claims, genuine }));
  const short = JSON.stringify(call.http, (_, value) =>
    typeof value === 'string' ? value.replaceAll(/eyJ[\w-]+\.[\w-]+\.([\w-]{4})[\w-]+/g, 'TOKEN-$1') : value,
  );
  return { seen, decision, rule: rule && `${rule.name}/${rule.rule}`, call: { ...call, tokens, http: short } };
}
