/**
 * Finds the grants that are already broken in the file that is in force. They do not prevent a change that leaves them
 * alone.
 */
import type { Access } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';
import { identityKey, withoutPlaces } from './access-changes.ts';
import type { Finding } from './finding.ts';

/** The prefix of notes about grants that are already broken. */
export const IN_FORCE_PREFIX = 'as by the file in force, ';

/**
 * Turns findings into notes if the file in force already has the same findings, with the same grant, call and reason.
 * Only applies to grants whose `to` has no new or changed entries.
 * @param findingsInForce plans the file in force and returns the findings; only called if a grant does not work
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

/** Whether the file in force already contains every entry in a grant's `to` field. */
function addsNothing(name: string, inForce: Access, access: Access): boolean {
  const [before, after] = [inForce, access].map(({ grants }) =>
    grants
      .filter((one) => one.name === name)
      .flatMap(({ to }) => to.map((target) => identityKey(withoutPlaces(target)))),
  );
  const known = new Set(before);
  return after!.every((target) => known.has(target));
}

/** Identifies a finding without the position of its grant, because other changes to the file may move the grant. */
function keyOf({ kind, grant, message, example, because }: Finding): string {
  return JSON.stringify([kind, grant, message, example, because.replace(/; granted at [^;]*$/, '')]);
}

/** Returns no findings if the file in force no longer compiles, for example because a Service was deleted. */
function orNone(plan: () => readonly Finding[]): readonly Finding[] {
  try {
    return plan();
  } catch (thrown) {
    if (thrown instanceof MeshpassError) return [];
    throw thrown;
  }
}
