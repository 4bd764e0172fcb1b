/**
 * The mesh and the access file as they stand: watched, compiled, applied, and only then in force. A new file that is
 * wrong changes nothing; a mesh that changes under a file in force takes from it what is no longer there.
 */
import { basename } from 'node:path';
import { type Access, namespacesGranted } from '@meshpass/access';
import { MeshpassError, toMeshpassError } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import type { Mesh } from '@meshpass/istio';
import { permanentRefusal } from '../kubernetes/http.ts';
import { openAccessFile } from './access-file.ts';
import { answersOf } from './answers-of-plan.ts';
import { applyPlan } from './apply-plan.ts';
import type { LiveMeshState } from './contract.ts';
import { createFormerAccess } from './former-access.ts';
import { describeLeftOut, makePlan, makeReducedPlan, type Plan, type PlanInput } from './make-plan.ts';
import { type MeshProblems, tell } from './mesh-problems.ts';
import { createPendingChange } from './pending-change.ts';
import { policyDecisions } from './policy-decisions.ts';
import { reconciler } from './reconciler.ts';
import { httpServersOf } from './revocation/ended-sessions.ts';
import type { StateOptions } from './state-options.ts';

/** Changes come in bursts: a rollout replaces Pods one by one. */
const SETTLE_MS = 100;

export function meshState(options: StateOptions): LiveMeshState {
  const { view, log } = options;
  const listeners = new Set<() => void>();
  const decisions = policyDecisions();
  const pending = createPendingChange();
  const former = createFormerAccess();
  let candidate: Access | undefined;
  let inForce: Plan | undefined;
  let applied = '';
  let latest: Plan | undefined;
  let tokenKeys: ReadonlySet<string> = new Set();
  let version = '';
  let settling: NodeJS.Timeout | undefined;
  /** A file was put in force by plan, by this broker or the one before: the one on disk is older. */
  let isPlanned = false;
  let drift = 0;
  const problems: MeshProblems = {};

  const apply = reconciler<Plan>({
    apply: (plan) => {
      // Until it is written, and where that fails half way, nothing is known to stand.
      if (plan.content !== applied) applied = '';
      return applyPlan(plan, options);
    },
    onApplied: (plan) => {
      delete problems.apply;
      drift = 0;
      applied = plan.content;
      tokenKeys = plan.tokenKeys;
      if (plan.access === candidate) adopt(plan);
      // A file that was taken back, or replaced, while it was being applied.
      else if (plan.access !== inForce?.access) soon();
      // Of the same content, a repetition may be older than what was adopted without applying. The latest is not: its Pods may be others.
      else if (plan === latest || plan.content !== inForce.content) adopt(plan);
    },
    onFailed: (error, plan) => {
      const final = permanentRefusal(error);
      if (inForce && plan.access !== inForce.access && final) {
        // Not to be tried for ever; and a file that has come meanwhile is not refused for this one.
        if (plan.access === candidate) {
          candidate = undefined;
          refuse(final);
        }
        soon();
        return;
      }
      if (pending.isFor(plan.access) && error.code === 'policy_drift') {
        refuse(error);
        return;
      }
      if (error.code === 'policy_drift') {
        drift = Number(error.detail.drift);
        if (problems.apply !== error.message)
          decisions.record({ outcome: 'refused', code: error.code, reason: error.message, file: plan.access.file });
      }
      // What Kubernetes refuses it refuses for a reason that somebody has to know.
      const why = (final ?? error).message;
      if (problems.apply !== why)
        log.error({ err: error, ...error.detail }, 'policies could not be applied; trying again');
      problems.apply = why;
    },
    ...{ resync: options.resync, now: options.now, random: options.random },
    // What waits was compiled with the keys of then.
    activated: options.activated?.then(() => recompile()),
  });

  const { services, ports, kubernetes } = answersOf(() => inForce, options);

  /** Tells the listeners, if there is anything that they would see. */
  const publish = (): void => {
    const grants = inForce?.access.grants.map(({ name }) => name) ?? [];
    const seen = JSON.stringify([inForce?.access, services(grants), [...kubernetes()], ports(), view.roots()]);
    const next = sha256Hex(seen).slice(0, 16);
    if (next === version) return;
    version = next;
    for (const listener of listeners) listener();
  };

  const recompile = (): void => {
    publish(); // roots need no compiling
    followGranted();
    const seen = view.current();
    if (!seen) return;
    const mesh: Mesh = { ...options.mesh, ...seen };
    const planInput = (): PlanInput => ({ mesh, tokens: options.tokens(), ours: view.ours() });
    if (candidate) {
      try {
        const goesOn = !inForce && former.is(candidate);
        want(goesOn ? reduced(candidate, planInput()) : makePlan(candidate, planInput()));
        delete problems.file;
        return;
      } catch (error) {
        // It stays a candidate: the Service that it misses may come.
        refuse(toMeshpassError(error));
      }
    }
    try {
      if (inForce) want(reduced(inForce.access, planInput()));
    } catch (error) {
      // What stands keeps standing; it was right for the mesh as it was.
      problems.mesh = toMeshpassError(error).message;
      log.error({ err: error }, 'the access file in force could not be compiled for the mesh as it is now');
    }
  };

  /** Whose Pods matter follows from the file and from what the cluster has: entries may select by label. */
  const followGranted = (): void => {
    const outline = view.outline();
    if (!outline) return;
    const mesh: Mesh = { ...options.mesh, ...outline };
    const files = [candidate, inForce?.access].filter((access) => access !== undefined);
    view.follow([...new Set(files.flatMap((access) => namespacesGranted(access, mesh)))].sort());
  };

  /** Without what is gone of a file that is or was in force. */
  const reduced = (access: Access, planInput: PlanInput): Plan => {
    const { plan, missing } = makeReducedPlan(access, planInput);
    tell(problems, log, 'mesh', missing);
    return plan;
  };

  /** Applies only what differs: Pods come and go all day, and seldom change a policy. */
  const want = (plan: Plan): void => {
    const before = latest;
    latest = plan;
    if (plan.content === applied && before?.content === applied) adopt(plan);
    else apply.want(plan);
  };

  const adopt = (plan: Plan): void => {
    tell(problems, log, 'selected', describeLeftOut(plan));
    if (plan.access !== inForce?.access) {
      const { file } = plan.access;
      log.info({ file, objects: plan.manifests.length }, 'access file in force');
      const reason = `In force: ${plan.manifests.length} objects are applied.`;
      decisions.record({ outcome: 'allowed', reason, file, digest: former.digestOf(plan.access) });
    }
    inForce = plan;
    if (candidate === plan.access) candidate = undefined;
    former.adopted(plan.access);
    tellIgnored();
    publish();
    pending.settle(plan.access);
  };

  /** A new file that cannot be used. The one in force stays, and so does everything that was applied. */
  const refuse = (error: MeshpassError): void => {
    if (pending.refuse(error)) {
      // Whoever gave it tries again or not; meanwhile nothing waits to come into force by itself.
      candidate = undefined;
      soon();
      return;
    }
    const { code, message: reason } = error;
    if (problems.file === reason) return;
    problems.file = reason;
    log.error({ code, problems: reason.split('\n') }, 'the access file was refused; the one in force stays');
    decisions.record({ outcome: 'refused', code, reason, file: basename(options.accessFile) });
  };

  const soon = (): void => {
    clearTimeout(settling);
    settling = setTimeout(recompile, SETTLE_MS);
  };
  const unsubscribe = view.onChange(soon);
  const tellIgnored = (): void =>
    tell(problems, log, 'disk', isPlanned && inForce ? former.ignored(inForce.access) : undefined);
  const ignoresDisk = (): boolean => isPlanned || pending.isOpen();
  const file = openAccessFile({
    path: options.accessFile,
    onFile: (access, digest) => {
      former.onDisk(access, digest);
      if (ignoresDisk()) return tellIgnored();
      candidate = access;
      soon();
    },
    onRefused: (error) => {
      former.onDisk(undefined, error.message);
      if (ignoresDisk()) return tellIgnored();
      candidate = undefined;
      refuse(error);
      soon();
    },
  });

  return {
    inForce: () => inForce !== undefined,
    access: () => {
      if (inForce) return inForce.access;
      const why = 'The access file is not in force yet: the broker is starting.';
      throw new MeshpassError('kubernetes_unavailable', why, { retryAfter: 1 });
    },
    roots: view.roots,
    services,
    kubernetes,
    ports,
    version: () => version,
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    unseen: view.unready,
    fileProblem: () => problems.file,
    wasInForce: (digest) => {
      if (former.tell(digest)) soon();
    },
    unready: () => [
      ...view.unready(),
      ...(inForce ? [] : [problems.file ?? problems.apply ?? 'the access file has not been applied yet']),
    ],
    drift: () => (options.gitops ? drift : undefined),
    problems: () => Object.values(problems),
    tokenKeys: () => tokenKeys,
    tokenKeysChanged: soon,
    httpServers: () => inForce && httpServersOf(inForce.access, services),
    onDecision: decisions.listen,
    take: async (access) => {
      delete problems.file;
      const done = pending.wait(access, () => {
        const why = problems.apply ?? view.unready()[0] ?? 'the cluster took too long';
        refuse(new MeshpassError('kubernetes_unavailable', `The access file could not be put in force: ${why}`));
      });
      candidate = access;
      soon();
      try {
        await done;
      } catch (thrown) {
        // The file on disk decides as before, and may have changed meanwhile.
        if (!isPlanned) await file.reload();
        throw thrown;
      }
      isPlanned = true;
      tellIgnored();
    },
    resume: (access) => {
      isPlanned = true;
      former.resume(access);
      candidate = access;
      soon();
    },
    reload: async () => {
      await file.reload();
      soon();
    },
    close: () => {
      clearTimeout(settling);
      unsubscribe();
      file.close();
      apply.close();
      listeners.clear();
    },
  };
}
