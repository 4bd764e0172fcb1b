/**
 * No command contradicts the evaluator: on generated meshes, the results of diff, plan, compile and lint are checked
 * with can-i, call by call. Each run checks 100,000 questions; MESHPASS_VERDICTS_QUESTIONS and MESHPASS_VERDICTS_SEED
 * change their number and selection.
 */

import { findMeshConfig, loadObject, type Resource } from '@meshpass/istio';
import { expect, it } from 'vitest';
import { seeded } from '../diff/random-policies.ts';
import { askDiff } from './ask-diff.ts';
import { askExposure } from './ask-exposure.ts';
import { askLint } from './ask-lint.ts';
import { askPlan } from './ask-plan.ts';
import { exposed } from './random-exposure.ts';
import { changed, type Manifests, randomMesh } from './random-mesh.ts';
import { Tally } from './tally.ts';

const QUESTIONS = Number(process.env.MESHPASS_VERDICTS_QUESTIONS ?? 100_000);
const SEED = Number(process.env.MESHPASS_VERDICTS_SEED ?? 20261125);

it(`agrees with the evaluator in ${QUESTIONS} questions`, { timeout: 600_000 }, () => {
  const tally = new Tally();
  let round = 0;
  for (; tally.questions < QUESTIONS && tally.contradictions.length === 0; round++) {
    const random = seeded(SEED + round);
    const mesh = randomMesh(random);
    const before = load(mesh);
    const config = findMeshConfig(before);
    askDiff(tally, round, random, { before, after: load(changed(random, mesh)), config }, 40);
    askLint(tally, round, before, config);
    const reachable = load(exposed(seeded(SEED - 1 - round), mesh));
    askExposure(tally, round, random, reachable, findMeshConfig(reachable), 6);
    askPlan(tally, round, random, before, config, 12);
  }
  console.log(`${tally.summary()}, in ${round} meshes`);
  expect(tally.contradictions, explain(tally)).toEqual([]);
  expect(tally.unknown / tally.questions).toBeLessThanOrEqual(0.05);
  // Neither all nor none: otherwise agreement would mean little.
  expect(tally.allowed / tally.questions).toBeGreaterThan(0.1);
  expect(tally.allowed / tally.questions).toBeLessThan(0.9);
});

function load(mesh: Manifests): readonly Resource[] {
  return mesh.flatMap((object) => {
    const { resources, problems } = loadObject(object, 'generated');
    if (problems.length > 0) throw new Error(problems.map(({ message }) => message).join('; '));
    return resources;
  });
}

function explain({ contradictions }: Tally): string {
  return contradictions
    .slice(0, 3)
    .map(({ round, claim, detail }) => `seed ${SEED + round}: ${claim}\n${JSON.stringify(detail, null, 1)}`)
    .join('\n\n');
}
