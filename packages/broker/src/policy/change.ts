/**
 * Changes of the access file by plan: planned against the cluster as it is, applied only if that is still the plan, and kept. One
 * at a time.
 */

import { type Access, parseAccess } from '@meshpass/access';
import {
  type Acceptance,
  describeTrustChange,
  manifestsToWrite,
  type Plan,
  planChange,
  refuseUnsafe,
} from '@meshpass/analysis/plan';
import { MeshpassError } from '@meshpass/identity';
import { type AuditContext, granted, type Outcome, recordGrant, refused } from '../audit/log/decision.ts';
import type { AuditEvent } from '../audit/log/event.ts';
import { runExclusive } from '../limits/keyed-mutex.ts';
import type { PolicyMesh } from '../reconcile/contract.ts';
import type { Store } from '../store/open.ts';
import type { Author } from './author.ts';
import { readVersion, type StoredFiles } from './history.ts';

export interface PolicyChanges {
  /** @throws MeshpassError `policy_forbidden` where the cluster would not let it be applied; `access_*`, `kubernetes_unavailable` */
  plan(kept: StoredFiles): Promise<Plan>;
  /** @returns refused with `plan_stale`, `plan_refused`, `policy_forbidden`, `access_*`, `kubernetes_unavailable` */
  apply(
    kept: StoredFiles,
    planned: string,
    author: Author,
    event: AuditEvent,
    accept?: Acceptance,
  ): Promise<Outcome<Plan>>;
  /** @returns refused with `plan_unknown`, `plan_stale` where another file came into force first, and what `apply` refuses with */
  rollBack(
    version: number,
    reason: string,
    author: Author,
    event: AuditEvent,
    accept?: Acceptance,
  ): Promise<Outcome<Plan>>;
}

export function policyChanges(mesh: PolicyMesh, store: Pick<Store, 'db'>, audit: AuditContext): PolicyChanges {
  const mutex = new Map<string, Promise<unknown>>();

  const plan = async (access: Access): Promise<Plan> => {
    const { shape, tokens, inForce, read } = mesh;
    return planChange({ access, inForce: inForce(), cluster: await read(), shape, tokens: tokens() });
  };
  /** What is in force is kept after it is: a file that Kubernetes refuses must not come back at the next start. */
  const put = async (
    { kept, access, plan: made }: { readonly kept: StoredFiles; readonly access: Access; readonly plan: Plan },
    author: Author,
    asked: AuditEvent,
    accept: Acceptance = {},
  ): Promise<Outcome<Plan>> => {
    try {
      refuseUnsafe(made, accept);
      // A token is good for one change.
      if (author.replay) await audit.journal.write({ replay: author.replay, audit: [] });
      await mesh.take(access);
    } catch (thrown) {
      return refused(asked, thrown);
    }
    const accepted = made.findings.filter(({ kind }) => kind === 'not-known');
    const reason = asked.reason ?? `Applied by ${author.by}.`;
    const event = {
      ...{ ...asked, reason, target: `${kept.main} plan ${made.id}` },
      detail: {
        ...asked.detail,
        plan: made.id,
        state: made.state,
        resources: made.resources.length,
        reach: made.reach.slice(0, 50),
        ...(made.trust.length > 0 && { trust: made.trust.slice(0, 50).map(describeTrustChange) }),
        // Who applies in spite of these answers for them.
        ...(accepted.length > 0 && {
          accepted_unknown: accepted.slice(0, 50).map(({ message, because }) => `${message}: ${because}`),
        }),
      },
    };
    const row = {
      ...{ time: new Date().toISOString(), applied_by: author.by, reason, plan: made.id },
      ...{ main: kept.main, files: JSON.stringify(kept.files) },
    };
    const written = await recordGrant(audit, event, { access: row });
    return written.granted ? granted(event, made) : written;
  };

  return {
    plan: async (kept) => {
      const made = await plan(read(kept));
      // What the plan itself refuses is told by its findings; what is only unknown, somebody may accept.
      if (made.findings.some(({ kind }) => kind !== 'not-known')) return made;
      await mesh.rehearse(manifestsToWrite(made.manifests, made.resources));
      return made;
    },
    apply: (kept, planned, author, event, accept) =>
      runExclusive(mutex, 'policy', async () => {
        const access = read(kept);
        const made = await plan(access);
        if (made.id === planned) return await put({ kept, access, plan: made }, author, event, accept);
        return refused(
          event,
          new MeshpassError(
            'plan_stale',
            'The cluster or the access file has changed since this plan was made. Plan again and review the result.',
            { detail: { planned, now: made.id } },
          ),
        );
      }),
    rollBack: (version, reason, author, asked, accept) => {
      // What the author may do, and whether it changes trust, was decided by this one.
      const decidedBy = mesh.inForce();
      return runExclusive(mutex, 'policy', async () => {
        if (mesh.inForce() !== decidedBy)
          return refused(
            asked,
            new MeshpassError(
              'plan_stale',
              'Another access file came into force meanwhile. Look at it, and ask again.',
            ),
          );
        const kept = await readVersion(store.db, version);
        if (!kept) throw new MeshpassError('plan_unknown', `There is no version ${version} of the access file.`);
        const access = read(kept);
        const event = { ...asked, reason: `Rolled back to version ${version} by ${author.by}: ${reason}` };
        return await put({ kept, access, plan: await plan(access) }, author, event, accept);
      });
    },
  };
}

/** @throws MeshpassError `access_*` */
export function read({ main, files }: StoredFiles): Access {
  const text = Object.hasOwn(files, main) ? files[main]! : undefined;
  if (text === undefined) throw new MeshpassError('request_malformed', `The files do not include ${main}.`);
  return parseAccess(text, main, {
    include: (path) => (Object.hasOwn(files, path) ? { text: files[path]! } : { problem: 'does not exist' }),
  });
}
