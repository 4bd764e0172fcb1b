/** Grants that already do not work by the file in force. They do not prevent a change that keeps them as they are. */
import type { Access } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';
import type { Finding } from './finding.ts';
import { identityKey, withoutPlaces } from './stated.ts';

/** Start of a note about a grant that already does not work. */
export const IN_FORCE_PREFIX = 'as by the file in force, ';

/**
 * Turns findings that the file in force has as well into notes: the same grant, call and reason, for a grant without a new
 * or changed entry of `to`.
 * @param findingsInForce plans the file in force; only called if a grant does not work
 */
export function demoteExistingFindings(
  findings: readonly Finding[],
  { access, inForce }: { readonly access: Access; readonly inForce?: Access | undefined },
  findingsInForce: (inForce: Access) => readonly Finding[],
): readonly Finding[] {
  const isCandidate = ({ kind, grant }: Finding) =>
    kind === 'grant-does-not-work' &&
    inForce !== undefined &&
    grant !== undefined &&
    addsNothing(grant, inForce, access);
  if (!inForce || !findings.some(isCandidate)) return findings;
  const standing = new Set(orNone(() => findingsInForce(inForce)).map(keyOf));
  return findings.map((one) =>
    isCandidate(one) && standing.has(keyOf(one))
      ? { ...one, kind: 'note', message: `${IN_FORCE_PREFIX}${one.message}` }
      : one,
  );
}

/** Whether each entry of a grant's `to` is in the file in force. */
function addsNothing(name: string, inForce: Access, access: Access): boolean {
  const [before, after] = [inForce, access].map(({ grants }) =>
    grants
      .filter((one) => one.name === name)
      .flatMap(({ to }) => to.map((target) => identityKey(withoutPlaces(target)))),
  );
  const known = new Set(before);
  return after!.every((target) => known.has(target));
}

/** Identifies a finding without the grant's position, which other changes of the file move. */
function keyOf({ kind, grant, message, example, because }: Finding): string {
  return JSON.stringify([kind, grant, message, example, because.replace(/; granted at [^;]*$/, '')]);
}

/** The file in force may not compile, for example because a Service is gone. */
function orNone(plan: () => readonly Finding[]): readonly Finding[] {
  try {
    return plan();
  } catch (thrown) {
    if (thrown instanceof MeshpassError) return [];
    throw thrown;
  }
}
