/**
 * Operator routes for planning and applying access files, and for rolling back to an earlier version (docs/policy.md).
 */
import { z } from 'zod';
import { granted } from '../../audit/index.ts';
import type { Route } from '../../http/index.ts';
import { nameOf, type OperatorSession } from '../operator/caller.ts';
import { operatorRoutes, Reason } from '../operator/operator-route.ts';
import type { Operators } from '../operator/operators.ts';
import { listVersions } from '../policy/history.ts';
import { APPLY, ApplyOrder, accept_unknown, described, PLAN, type PolicyContext } from './policy.ts';

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
export function operatorPolicyRoutes(context: OperatorPolicyContext): readonly Route[] {
  const { changes, store, operators, operatorSessions } = context;
  const on = operatorRoutes(operators.authentication);
  return [
    // Only operators see effects on operator sessions. The output of a job is visible to everyone with access to the
    // repository.
    on('POST /policy/plan', { ...PLAN, does: 'policy.plan' }, async ({ body, event }) =>
      described(granted(event, await changes.plan(body, operatorSessions()))),
    ),
    on('GET /policy/history', { does: 'policy.history', action: 'policy.plan' }, async ({ event }) =>
      granted(event, { versions: await listVersions(store.db) }),
    ),
    on('GET /policy/versions/:version', { does: 'policy.version', action: 'policy.plan' }, async ({ event, params }) =>
      granted(event, await changes.fileOf(Number(params.version))),
    ),
    on<z.infer<typeof ApplyOrder>>(
      'POST /policy/apply',
      { ...APPLY, does: 'policy.apply', schema: ApplyOrder },
      async ({ caller, body, event, because }) => {
        const { plan, accept_unknown: acceptUnknown, reason: _, ...kept } = body;
        const by = nameOf(caller);
        const asked = { ...event, reason: `Applied by ${by}: ${because}` };
        return described(await changes.apply(kept, plan, { by }, asked, { acceptUnknown }));
      },
    ),
    on(
      'POST /policy/rollback',
      {
        does: 'policy.rollback',
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
