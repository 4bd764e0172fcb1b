/** Runs a diagnosis, which consists of checks that can depend on each other. Each check returns its own findings. */
import { type MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import { type Finding, failedFinding, type More, skippedFinding } from './finding.ts';

/** The findings of a check, which are either a single finding or a list. */
export type Findings<Name extends string = string> = Finding<Name> | readonly Finding<Name>[];

/** A check of a single subject, or of subjects that are best examined together. */
export interface Check<Name extends string = string> {
  readonly names: readonly Name[];
  /** Earlier checks that have to succeed first. If one of them fails, the result of this check would be meaningless. */
  readonly needs?: readonly Name[];
  /** Runs the check. If it throws an error, that error becomes a failed finding under the first name. */
  readonly run: () => Promise<Findings<Name>> | Findings<Name>;
  /** Details to add to the finding if the check throws an error. */
  readonly onError?: More | ((error: MeshpassError) => Partial<Finding>);
}

/**
 * Runs the checks. A check is skipped if another check that it needs has failed. Never throws. A failed check produces
 * a finding instead.
 * @param concurrency the maximum number of checks to run at the same time
 * @returns the findings, in the order of the checks
 */
export async function diagnose<Name extends string>(
  checks: readonly Check<Name>[],
  concurrency = 1,
): Promise<readonly Finding<Name>[]> {
  const results = new Map<Check<Name>, Promise<readonly Finding<Name>[] | 'not reached'>>();
  const resultOf = async (check: Check<Name>) => {
    const needed = checks.filter(({ names }) => names.some((name) => check.needs?.includes(name)));
    for (const one of needed) {
      const found = await results.get(one)!;
      if (found === 'not reached' || found.some(({ state }) => state === 'failed')) return 'not reached';
    }
    return await findingsOf(check);
  };
  const queue = checks.values();
  const work = async () => {
    for (const check of queue) {
      const result = resultOf(check);
      results.set(check, result);
      await result;
    }
  };
  await Promise.all(Array.from({ length: concurrency }, work));
  const found = checks.map(async (check) => {
    const result = await results.get(check)!;
    return result === 'not reached' ? check.names.map((name) => skippedFinding(name, 'Not reached.')) : result;
  });
  return (await Promise.all(found)).flat();
}

async function findingsOf<Name extends string>({
  names,
  run,
  onError,
}: Check<Name>): Promise<readonly Finding<Name>[]> {
  try {
    return [await run()].flat();
  } catch (thrown) {
    const error = toMeshpassError(thrown);
    return [{ ...failedFinding(names[0]!, error), ...(typeof onError === 'function' ? onError(error) : onError) }];
  }
}
