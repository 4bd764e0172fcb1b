/**
 * Operator routes for planning and applying access files, and for rolling back to an earlier version (docs/policy.md).
 */
import { z } from 'zod';
import { granted } from '../../audit/index.ts';
import { nameOf, type OperatorSession } from '../operator/caller.ts';
import { type MountedOperatorRoute, operatorRoute, Reason } from '../operator/operator-route.ts';
import type { Operators } from '../operator/operators.ts';
import { listVersions } from '../policy/history.ts';
import { APPLY, ApplyOrder, accept_unknown, described, HISTORY, PLAN, type PolicyContext } from './policy.ts';

export interface OperatorPolicyContext extends PolicyContext {
  readonly operators: Operators;
  /** Returns the operator sessions that this broker has seen. */
  readonly operatorSessions: () => readonly OperatorSession[];
}

/** Body of `POST /policy/rollback`. Version 0 is the file on disk. */
export const RollBackOrder = z.strictObject({
  version: z.number().int().nonnegative(),
  reason: Reason,
  accept_unknown,
});

/**
 * Returns `POST /policy/plan`, `/policy/apply`, `/policy/rollback`, `GET /policy/history` and
 * `/policy/versions/VERSION`.
 */
export function operatorPolicyRoutes(context: OperatorPolicyContext): readonly MountedOperatorRoute[] {
  const { changes, store, operators, operatorSessions } = context;
  return [
    // Only operators see effects on operator sessions. The output of a job is visible to everyone with access to the
    // repository.
    operatorRoute(operators, { ...PLAN, does: 'policy.plan' }, async ({ body, event }) =>
      described(granted(event, await changes.plan(body, operatorSessions()))),
    ),
    operatorRoute(operators, { ...HISTORY, does: 'policy.history' }, async ({ event }) =>
      granted(event, { versions: await listVersions(store.db) }),
    ),
    operatorRoute(
      operators,
      { does: 'policy.version', method: 'GET', path: '/policy/versions/:version', action: 'policy.plan' },
      async ({ event, params }) => granted(event, await changes.fileOf(Number(params.version))),
    ),
    operatorRoute<z.infer<typeof ApplyOrder>>(
      operators,
      { ...APPLY, does: 'policy.apply', schema: ApplyOrder },
      async ({ caller, body, event, because }) => {
        const { plan, accept_unknown: acceptUnknown, reason: _, ...kept } = body;
        const by = nameOf(caller);
        const asked = { ...event, reason: `Applied by ${by}: ${because}` };
        return described(await changes.apply(kept, plan, { by }, asked, { acceptUnknown }));
      },
    ),
    operatorRoute(
      operators,
      {
        does: 'policy.rollback',
        method: 'POST',
        path: '/policy/rollback',
        action: 'policy.apply',
        schema: RollBackOrder,
        auditMembers: ({ version }) => ({ target: `version ${version}` }),
      },
      async ({ caller, body, event }) => {
        const { version, reason, accept_unknown: acceptUnknown } = body;
        return described(await changes.rollBack(version, reason, { by: nameOf(caller) }, event, { acceptUnknown }));
      },
    ),
  ];
}
