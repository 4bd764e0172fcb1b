/** Seeds of a failed test. */
import { expect, it } from 'vitest';
import { seedLines, seedVariables } from './seeds.ts';

const NONE = { env: {}, failure: '', source: '' };

it('finds the variables that select a seed', () => {
  const env = { MESHPASS_MIXED_SEED: '7', CHAOS_SEED: '8', MESHPASS_GATEWAY_SEED: '', OTHER_SEED: '9' };
  expect(seedVariables(env)).toEqual({ MESHPASS_MIXED_SEED: '7', CHAOS_SEED: '8' });
  expect(seedLines({ ...NONE, env })).toEqual(['MESHPASS_MIXED_SEED=7', 'CHAOS_SEED=8']);
});

it('finds seeds in a failure, once each, and the variable that its file reads', () => {
  const failure = 'mixed load, seed 77: {}\nSeed: 78\nseed=77\nseedling 5';
  const source = 'const SEED = Number(process.env.MESHPASS_MIXED_SEED ?? 1);';
  expect(seedLines({ ...NONE, failure, source })).toEqual([
    '77 (in the failure, selected by MESHPASS_MIXED_SEED)',
    '78 (in the failure, selected by MESHPASS_MIXED_SEED)',
  ]);
  expect(seedLines({ ...NONE, failure: 'seed 77', env: { CHAOS_SEED: '77' } })).toEqual(['CHAOS_SEED=77']);
});

it('names the seed of a shuffled order', () => {
  expect(seedLines({ ...NONE, order: 12 })).toEqual(['12 (order of the tests: --sequence.seed=12)']);
  expect(seedLines(NONE)).toEqual([]);
});
