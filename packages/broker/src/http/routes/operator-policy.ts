/** Plans of the access file on the operator listener, and going back to an earlier one. docs/policy.md is their prose. */
import type { Access } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';
import { z } from 'zod';
import { granted } from '../../audit/log/decision.ts';
import { nameOf } from '../../operator/caller.ts';
import { operatorsConcerned } from '../../operator/operators-concerned.ts';
import type { OperatorSession } from '../../operator/sessions.ts';
import { read } from '../../policy/change.ts';
import { listVersions, readVersion, type StoredFiles } from '../../policy/history.ts';
import { changesTrust } from '../../policy/trust-change.ts';
import { type MountedOperatorRoute, operatorRoute, Reason } from '../operator-route.ts';
import type { Operators } from '../operators.ts';
import { ApplyOrder, accept_unknown, described, MAX_BODY, PlanOrder, type PolicyContext } from './policy.ts';

export interface OperatorPolicyContext extends PolicyContext {
  readonly operators: Operators;
  /** The file in force; undefined before the first. */
  readonly inForce: () => Access | undefined;
  /** That are live. */
  readonly operatorSessions: () => readonly OperatorSession[];
}

export const RollBackOrder = z.strictObject({ version: z.number().int().positive(), reason: Reason, accept_unknown });

/** `POST /policy/plan`, `/policy/apply`, `/policy/rollback`, `GET /policy/history` and `/policy/versions/VERSION`. */
export function operatorPolicyRoutes(context: OperatorPolicyContext): readonly MountedOperatorRoute[] {
  const { changes, store, operators, inForce, operatorSessions } = context;
  return [
    // What is only looked at leaves no row, as everywhere.
    operatorRoute(
      operators,
      {
        ...{ does: 'policy.plan', method: 'POST', path: '/policy/plan', action: 'policy.plan' },
        ...{ schema: PlanOrder, limit: MAX_BODY },
      },
      async ({ body, event }) => {
        const plan = await changes.plan(body);
        const before = inForce();
        // Jobs are not told who is signed in: what they print is read by everybody in the repository.
        const concerned = before ? operatorsConcerned(operatorSessions(), before, read(body)) : [];
        return described(granted(event, { ...plan, trust: [...plan.trust, ...concerned] }));
      },
    ),
    operatorRoute(
      operators,
      { does: 'policy.history', method: 'GET', path: '/policy/history', action: 'policy.plan' },
      async ({ event }) => granted(event, { versions: await listVersions(store.db) }),
    ),
    operatorRoute(
      operators,
      { does: 'policy.version', method: 'GET', path: '/policy/versions/:version', action: 'policy.plan' },
      async ({ event, params }) => granted(event, await versionOf(context, Number(params.version))),
    ),
    operatorRoute(
      operators,
      {
        does: {
          among: ['policy.apply', 'policy.apply-unknown', 'policy.apply-trust'],
          of: ({ body }) => {
            if (changesTrust(read(body), inForce())) return 'policy.apply-trust';
            return body.accept_unknown ? 'policy.apply-unknown' : 'policy.apply';
          },
        },
        ...{ method: 'POST', path: '/policy/apply', action: 'policy.apply' },
        ...{ schema: ApplyOrder, limit: MAX_BODY },
        auditMembers: ({ main: file, plan }) => ({ target: `${file} plan ${plan}` }),
      },
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
        does: {
          among: ['policy.rollback', 'policy.rollback-unknown', 'policy.rollback-trust'],
          of: async ({ body }) => {
            const kept = await versionOf(context, body.version);
            if (changesTrust(read(kept), inForce())) return 'policy.rollback-trust';
            return body.accept_unknown ? 'policy.rollback-unknown' : 'policy.rollback';
          },
        },
        ...{ method: 'POST', path: '/policy/rollback', action: 'policy.apply' },
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

/** @throws MeshpassError `plan_unknown` */
async function versionOf({ store }: Pick<OperatorPolicyContext, 'store'>, version: number): Promise<StoredFiles> {
  const kept = Number.isSafeInteger(version) && version > 0 ? await readVersion(store.db, version) : undefined;
  if (kept) return kept;
  throw new MeshpassError('plan_unknown', 'There is no such version of the access file.');
}
