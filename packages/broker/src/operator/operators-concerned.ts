/** Operators who are signed in, and what an access file would make of their roles. */
import type { Access, OperatorRole } from '@meshpass/access';
import type { TrustChange } from '@meshpass/analysis/plan';
import { nameOf } from './caller.ts';
import { callerOf, type OperatorSession } from './sessions.ts';

/**
 * @param before the file in force
 * @returns one change for each role that somebody gains or loses, whatever the number of their sessions
 */
export function operatorsConcerned(
  sessions: readonly OperatorSession[],
  before: Access,
  after: Access,
): readonly TrustChange[] {
  const rolesOf = (session: OperatorSession, access: Access) =>
    callerOf(session, access).roles.map(({ role }): OperatorRole => role);
  const told = new Map<string, TrustChange>();
  for (const session of sessions) {
    const [old, now] = [rolesOf(session, before), rolesOf(session, after)];
    const tell = (roles: readonly OperatorRole[], others: readonly OperatorRole[], does: 'gains' | 'loses') => {
      for (const role of roles.filter((one) => !others.includes(one)))
        told.set(`${session.subject} ${does} ${role}`, {
          ...{ about: 'role', who: `${nameOf(session)}, who is signed in,`, does, what: `the role ${role}` },
          wider: does === 'gains',
        });
    };
    tell(now, old, 'gains');
    tell(old, now, 'loses');
  }
  return [...told.values()];
}
