/** Compares two access files by the roles they assign to the operators that this broker has seen. */
import type { Access, OperatorRole } from '@meshpass/access';
import type { AccessChange } from '@meshpass/analysis/plan';
import { nameOf, type OperatorSession } from './caller.ts';
import { callerOf } from './sessions.ts';

/**
 * Lists the roles that operators gain or lose.
 * @param before the access file in force
 * @returns one change per person and role, even if the person has several sessions
 */
export function operatorsConcerned(
  sessions: readonly OperatorSession[],
  before: Access,
  after: Access,
): readonly AccessChange[] {
  const rolesOf = (session: OperatorSession, access: Access) =>
    callerOf(session, access).roles.map(({ role }): OperatorRole => role);
  const told = new Map<string, AccessChange>();
  for (const session of sessions) {
    const [old, now] = [rolesOf(session, before), rolesOf(session, after)];
    const tell = (roles: readonly OperatorRole[], others: readonly OperatorRole[], does: 'gains' | 'loses') => {
      for (const role of roles.filter((one) => !others.includes(one)))
        told.set(`${session.subject} ${does} ${role}`, {
          path: `operators.${role}`,
          does,
          wider: does === 'gains',
          says: `${nameOf(session)}, who is signed in, ${does} the role ${role}`,
        });
    };
    tell(now, old, 'gains');
    tell(old, now, 'loses');
  }
  return [...told.values()];
}
