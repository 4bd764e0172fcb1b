/** Runs a diagnosis, which consists of checks that can depend on each other. Each check returns its own findings. */
import { type MeshpassError, toMeshpassError } from '@meshpass/identity';
import { type Finding, type Findings, failed, skipped } from './finding.ts';

/** A finding, with the name of the check that reported it. */
export type CheckedFinding = Finding & { readonly check: string };

/** A check of a single subject, or of subjects that are best examined together. */
export interface Check {
  /** The names of the check's findings. A finding without a name gets the first one. */
  readonly names: readonly string[];
  /** Earlier checks that have to succeed first. If one of them fails, the result of this check would be meaningless. */
  readonly needs?: readonly string[];
  /** Runs the check. If it throws an error, that error becomes a failed finding under the first name. */
  readonly run: () => Promise<Findings> | Findings;
  /** Details to add to the finding if the check throws an error. */
  readonly onError?: Partial<Finding> | ((error: MeshpassError) => Partial<Finding>);
}

/**
 * Runs the checks. A check is skipped if another check that it needs has failed. Never throws. A failed check produces
 * a finding instead.
 * @param concurrency the maximum number of checks to run at the same time
 * @returns the findings, in the order of the checks
 */
export async function diagnose(checks: readonly Check[], concurrency = 1): Promise<readonly CheckedFinding[]> {
  const results = new Map<Check, Promise<readonly CheckedFinding[] | 'not reached'>>();
  const resultOf = async (check: Check) => {
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
    return result === 'not reached' ? check.names.map((name) => ({ check: name, ...skipped('Not reached.') })) : result;
  });
  return (await Promise.all(found)).flat();
}

async function findingsOf({ names, run, onError }: Check): Promise<readonly CheckedFinding[]> {
  const check = names[0]!;
  try {
    return [await run()].flat().map((finding) => ({ check, ...finding }));
  } catch (thrown) {
    const error = toMeshpassError(thrown);
    return [{ check, ...failed(error), ...(typeof onError === 'function' ? onError(error) : onError) }];
  }
}
