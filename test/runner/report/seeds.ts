/** Seeds of a failed random test. */

const VARIABLE = /^(MESHPASS_\w+_SEED|CHAOS_SEED)$/;
const IN_SOURCE = /process\.env\.(MESHPASS_\w+_SEED|CHAOS_SEED)\b/g;
const IN_TEXT = /\bseed\b[^\w\n]{1,3}(\d+)/gi;

/** Returns the seeds that the environment selects, by variable. */
export function seedVariables(env: NodeJS.ProcessEnv): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => (VARIABLE.test(name) && value ? [[name, value]] : [])),
  );
}

export interface SeedSources {
  readonly env: NodeJS.ProcessEnv;
  /** Message and console output of the failed test. */
  readonly failure: string;
  /** Source of the test file, which names the variables that it reads. */
  readonly source: string;
  /** Seed of a shuffled order of tests. */
  readonly order?: number | undefined;
}

/** Describes each seed in a line. Returns no line if there is no seed. */
export function seedLines({ env, failure, source, order }: SeedSources): string[] {
  const read = [...new Set([...source.matchAll(IN_SOURCE)].map(([, name]) => name))];
  const by = read.length > 0 ? `, selected by ${read.join(', ')}` : '';
  const selected = Object.entries(seedVariables(env));
  const printed = new Set([...failure.matchAll(IN_TEXT)].map(([, seed]) => seed!));
  for (const [, value] of selected) printed.delete(value);
  return [
    ...selected.map(([name, value]) => `${name}=${value}`),
    ...[...printed].map((seed) => `${seed} (in the failure${by})`),
    ...(order === undefined ? [] : [`${order} (order of the tests: --sequence.seed=${order})`]),
  ];
}
