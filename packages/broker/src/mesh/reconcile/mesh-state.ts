/**
 * State of the mesh and the access file. A file is watched, compiled, applied, and only then in force. An invalid new
 * file changes nothing. If the mesh changes under a file in force, the missing objects are removed from the file.
 */
import { basename } from 'node:path';
import {
  type Access,
  type GrantedPort,
  type IdentityTokens,
  type MeshShape,
  namespacesGranted,
} from '@meshpass/access';
import { accessChanges } from '@meshpass/analysis/plan';
import { MeshpassError, toMeshpassError } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import type { Mesh } from '@meshpass/istio';
import type { Log } from '../../base/index.ts';
import { isNamespaceTerminating, toPermanentError } from '../kubernetes/http.ts';
import type { Kubernetes } from '../kubernetes/kubernetes.ts';
import { type DiskFile, openAccessFile } from './access-file.ts';
import { applyKeysOnly, applyManifests } from './apply.ts';
import type { ClusterView } from './cluster-view.ts';
import { describeSkippedServices, makePlan, makeReducedPlan, type Plan, type PlanInput } from './make-plan.ts';
import { type MeshProblems, tell } from './mesh-problems.ts';
import { createPolicyDecisions } from './policy-decisions.ts';
import { startReconciler } from './reconciler.ts';
import { collectHttpServers } from './revocation/ended-sessions.ts';

// Options of the mesh state: its sources, its client and its intervals.

export interface StateOptions {
  readonly view: ClusterView;
  readonly kubernetes: Kubernetes;
  readonly mesh: MeshShape;
  readonly accessFile: string;
  /** Token keys that sidecars must accept now. */
  readonly tokens: () => IdentityTokens;
  readonly log: Log;
  /** Unix seconds. */
  readonly now: () => number;
  /** Whether GitOps applies the compiled objects. The broker then writes only its keys and compares the rest. */
  readonly gitops?: boolean;
  /** Whether workspaces whose grants have roles may use the API server. */
  readonly offersKubernetes?: boolean;
  /** Drift-repair interval, milliseconds. */
  readonly resync: number;
  /** Resolves when this broker becomes active; nothing is applied before. If absent, it is active now. */
  readonly activated?: Promise<void> | undefined;
}

/** Access file from disk that came into force last, from the store. */
export interface FormerAccessFile {
  /** SHA-256 of its text, hex. */
  readonly digest: string;
  /** Undefined if this version of Meshpass refuses the text. */
  readonly access: Access | undefined;
}

/** A file that was submitted, not read from disk, and the caller waiting for it to come into force. */
interface Submitted {
  readonly access: Access;
  readonly done: PromiseWithResolvers<void>;
}

/** Maximum time that a caller waits for a submitted file to come into force. */
const LONGEST_WAIT_MS = 25_000;

const AGAIN = 'the access file on disk was rejected, so the one from before the restart is in force again';

const IGNORED =
  'the access file on disk was changed but is ignored, because the one in force was applied with "meshpass policy apply". Apply the change ' +
  'in the same way, or return to the file on disk with "meshpass policy rollback 0". "meshpass policy history" lists the applied files';

/** Delay after a change. Changes come in bursts, because a rollout replaces Pods one by one. */
const SETTLE_MS = 100;

/** Creates the state and starts to reconcile. */
export function createMeshState(options: StateOptions) {
  const { view, log } = options;
  const listeners = new Set<() => void>();
  const decisions = createPolicyDecisions();
  const diskFiles = new WeakMap<Access, DiskFile>();
  let candidate: Access | undefined;
  let inForce: Plan | undefined;
  let applied = '';
  let latest: Plan | undefined;
  let tokenKeys: ReadonlySet<string> = new Set();
  let version = '';
  let settling: NodeJS.Timeout | undefined;
  /** Whether this broker or the previous one put a file in force by plan. It is newer than the one on disk. */
  let isPlanned = false;
  let submitted: Submitted | undefined;
  /**
   * File that was in force before this broker became active. As with the previous broker, objects that the mesh has
   * lost since are omitted. A file that was never in force is refused for the same loss, because it may be a mistake
   * and no session depends on it. If the file on disk is refused at a start, the former file comes into force again, so
   * that a restart changes nothing that a running broker would not.
   */
  let former: Access | undefined;
  /** Digest of the file from disk that came into force last. */
  let lastDigest: string | undefined;
  /** File on disk; without `access` if it is refused. */
  let disk: { readonly access?: Access; readonly digest: string } | undefined;
  let drift = 0;
  /** Former file that the cluster does not match, with GitOps. */
  let passedOver: Access | undefined;
  const problems: MeshProblems = {};

  /** Returns the file that stays while another one is tried. At a start, this is the former file. */
  const standing = (): Access | undefined => inForce?.access ?? former;

  /** Whether the file was in force before this broker became active. */
  const isFormer = (access: Access): boolean =>
    access === former || (lastDigest !== undefined && diskFiles.get(access)?.digest === lastDigest);

  /**
   * Returns the former file if it is compared before a new one: with GitOps, once, at a start. A new file is in force
   * only when the cluster matches it, and the cluster may still match the former one.
   */
  const goesFirst = (): Access | undefined => {
    const isOther = candidate !== undefined && !isFormer(candidate);
    return options.gitops && !inForce && isOther && former !== passedOver ? former : undefined;
  };

  const apply = startReconciler<Plan>({
    apply: (plan) => {
      // A partial write leaves an unknown state.
      if (plan.content !== applied) applied = '';
      return (options.gitops ? applyKeysOnly : applyManifests)(plan.manifests, options);
    },
    onApplied: (plan) => {
      delete problems.apply;
      drift = 0;
      applied = plan.content;
      tokenKeys = plan.tokenKeys;
      if (plan.access === candidate || (!inForce && plan.access === former)) adopt(plan);
      // The file was withdrawn or replaced while it was being applied.
      else if (plan.access !== inForce?.access) soon();
      // A repeated plan with the same content may be older than a plan that was adopted without applying. The latest
      // plan is adopted, because its Pods may have changed.
      else if (plan === latest || plan.content !== inForce.content) adopt(plan);
    },
    onFailed: (error, plan) => {
      const final = toPermanentError(error);
      const stays = standing();
      if (stays && plan.access !== stays && final) {
        // Not retried forever. A newer file that has arrived since is not refused because of it.
        if (plan.access === candidate) {
          candidate = undefined;
          refuse(final);
        }
        soon();
        return;
      }
      if (submitted?.access === plan.access && error.code === 'policy_drift') {
        refuse(error);
        return;
      }
      if (error.code === 'policy_drift') {
        drift = Number(error.detail.drift);
        if (problems.apply !== error.message)
          decisions.record({ outcome: 'refused', code: error.code, reason: error.message, file: plan.access.file });
        if (plan.access === goesFirst()) {
          passedOver = plan.access;
          soon();
        }
      }
      // If Kubernetes refuses permanently, the operator must see the reason.
      const why = (final ?? error).message;
      if (problems.apply !== why) {
        const told = { err: error, ...error.detail };
        if (isNamespaceTerminating(error)) log.info(told, 'a namespace was deleted during the change; trying again');
        else log.error(told, 'failed to apply policies; trying again');
      }
      problems.apply = why;
    },
    resync: options.resync,
    now: options.now,
    // The waiting plan was compiled with earlier keys.
    activated: options.activated?.then(() => recompile()),
  });

  const kubernetes = (): ReadonlyMap<string, readonly string[]> =>
    (options.offersKubernetes && inForce?.answers.kubernetes) || new Map();
  const services = (grants: readonly string[]) =>
    [...(inForce?.answers.services ?? [])].flatMap(([grant, some]) => (grants.includes(grant) ? some : []));

  /** Notifies the listeners if anything visible to them has changed. */
  const publish = (): void => {
    const { access, answers } = inForce ?? {};
    const seen = JSON.stringify([
      access,
      [...(answers?.services ?? [])],
      [...kubernetes()],
      answers?.ports,
      view.roots(),
    ]);
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
    if (candidate && !goesFirst()) {
      try {
        const goesOn = !inForce && isFormer(candidate);
        want(goesOn ? reduced(candidate, planInput()) : makePlan(candidate, planInput()));
        delete problems.file;
        return;
      } catch (error) {
        // It stays a candidate, because the missing Service may appear.
        refuse(toMeshpassError(error));
      }
    }
    try {
      const stays = standing();
      if (stays) want(reduced(stays, planInput()));
    } catch (error) {
      // The applied objects stay: they were right for the previous mesh.
      problems.mesh = toMeshpassError(error).message;
      log.error({ err: error }, 'failed to compile the access file in force for the current mesh');
    }
  };

  /**
   * Follows the Pods of granted namespaces. They depend on the access file and the cluster, because entries may select
   * by label.
   */
  const followGranted = (): void => {
    const outline = view.outline();
    if (!outline) return;
    const mesh: Mesh = { ...options.mesh, ...outline };
    const files = [candidate, standing()].filter((access) => access !== undefined);
    view.follow([...new Set(files.flatMap((access) => namespacesGranted(access, mesh)))].sort());
  };

  /** Compiles a file that is or was in force, without its missing objects. */
  const reduced = (access: Access, planInput: PlanInput): Plan => {
    const { plan, missing } = makeReducedPlan(access, planInput);
    tell(problems, log, 'mesh', missing);
    return plan;
  };

  /** Applies a plan only if it differs: Pods change all day and rarely change a policy. */
  const want = (plan: Plan): void => {
    const before = latest;
    latest = plan;
    if (plan.content === applied && before?.content === applied) adopt(plan);
    else apply.want(plan);
  };

  const adopt = (plan: Plan): void => {
    tell(problems, log, 'selected', describeSkippedServices(plan));
    if (plan.access !== inForce?.access) {
      const { file } = plan.access;
      const objects = plan.manifests.length;
      const isAgain = !inForce && problems.file !== undefined;
      if (isAgain) log.warn({ file, objects }, AGAIN);
      else log.info({ file, objects }, 'access file in force');
      const reason = `In force: ${objects} objects are applied.${isAgain ? ` However, ${AGAIN}.` : ''}`;
      decisions.record({ outcome: 'allowed', reason, file, disk: diskFiles.get(plan.access) });
      // A new file was waiting for the former one.
      if (candidate && candidate !== plan.access) soon();
    }
    inForce = plan;
    if (candidate === plan.access) candidate = undefined;
    lastDigest = diskFiles.get(plan.access)?.digest ?? lastDigest;
    tellIgnored();
    publish();
    if (submitted?.access !== plan.access) return;
    submitted.done.resolve();
    submitted = undefined;
  };

  /** Refuses a new file. The one in force and all applied objects stay. */
  const refuse = (error: MeshpassError): void => {
    if (submitted) {
      submitted.done.reject(error);
      submitted = undefined;
      // The caller decides whether to try again. Until then, no file may come into force by itself.
      candidate = undefined;
      soon();
      return;
    }
    const { code, message: reason } = error;
    if (problems.file === reason) return;
    problems.file = reason;
    const rest = inForce ? 'the previous one stays in force' : 'none is in force yet';
    log.error({ code, problems: reason.split('\n') }, `the access file was rejected; ${rest}`);
    decisions.record({ outcome: 'refused', code, reason, file: basename(options.accessFile) });
  };

  const soon = (): void => {
    clearTimeout(settling);
    settling = setTimeout(recompile, SETTLE_MS);
  };
  const unsubscribe = view.onChange(soon);
  /** Warns about a changed file on disk while another one is in force by plan. An older file is expected. */
  const tellIgnored = (): void => {
    const isChanged = isPlanned && inForce && disk && disk.digest !== lastDigest;
    const isSame = isChanged && disk?.access && accessChanges(inForce!.access, disk.access).length === 0;
    tell(problems, log, 'disk', isChanged && !isSame ? IGNORED : undefined);
  };
  const ignoresDisk = (): boolean => isPlanned || submitted !== undefined;
  const file = openAccessFile({
    path: options.accessFile,
    onFile: (access, read) => {
      disk = { access, digest: read.digest };
      diskFiles.set(access, read);
      if (ignoresDisk()) return tellIgnored();
      candidate = access;
      soon();
    },
    onRefused: (error) => {
      disk = { digest: error.message };
      if (ignoresDisk()) return tellIgnored();
      candidate = undefined;
      refuse(error);
      soon();
    },
  });

  return {
    /**
     * Whether an access file has been applied since the start. Before that, no session is admitted and edges receive
     * nothing.
     */
    inForce: () => inForce !== undefined,
    /**
     * Returns the access file in force.
     * @throws MeshpassError `kubernetes_unavailable` if none is in force yet
     */
    access: (): Access => {
      if (inForce) return inForce.access;
      const why = 'The access file is not in force yet: the broker is starting.';
      throw new MeshpassError('kubernetes_unavailable', why, { retryAfter: 1 });
    },
    /** Root certificates of the mesh, PEM. */
    roots: view.roots,
    /** Returns the services that these grants reach. */
    services,
    /** Namespaces in which each grant has a Kubernetes role; empty if workspaces have no access to the API server. */
    kubernetes,
    /** Lists the granted ports of the file in force. Cluster addresses stay inside the broker. */
    ports: (): readonly GrantedPort[] => inForce?.answers.ports ?? [],
    /** Version that changes with the results of `services`, `kubernetes` and `roots`. */
    version: () => version,
    /** Registers a listener for changes of access, services or roots. Returns a function that unsubscribes it. */
    onChange: (listener: () => void): (() => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    /**
     * Subset of `unready` that also applies to a standby broker, which applies nothing but must be able to see the
     * cluster.
     */
    unseen: view.unready,
    /** Why the access file on disk cannot come into force: it is unreadable, or grants objects that the mesh lacks. */
    fileProblem: () => problems.file,
    /**
     * Sets the access file that was in force before the start. Objects that the mesh has lost since are omitted, and the
     * file comes into force again if the one on disk is refused.
     */
    wasInForce: ({ digest, access }: FormerAccessFile): void => {
      // A file that was applied by plan is newer.
      const next = isPlanned ? former : access;
      if (digest === lastDigest && next === former) return;
      lastDigest = digest;
      former = next;
      soon();
    },
    /** Reasons why the broker is not ready; empty if it is. */
    unready: (): readonly string[] => [
      ...view.unready(),
      ...(inForce ? [] : [problems.file ?? problems.apply ?? 'the access file has not been applied yet']),
    ],
    /** Number of objects that differ from the compiled ones, with GitOps. */
    drift: () => (options.gitops ? drift : undefined),
    /**
     * Problems that an operator must fix although the broker continues: a refused file, a failed apply, missing targets.
     */
    problems: () =>
      Object.entries(problems).map(([kind, text]) => (kind === 'file' && inForce ? describeRefused(text) : text)),
    /** Ids of the token keys that were last applied to sidecars; empty before the first time. */
    tokenKeys: () => tokenKeys,
    /** Applies the broker's new token keys to sidecars. */
    tokenKeysChanged: soon,
    /** Servers that verify identity tokens; undefined until an access file is in force. */
    httpServers: () => inForce && collectHttpServers(inForce.access, services),
    /** Registers the listener for decisions about access files, for the audit log. */
    onDecision: decisions.listen,
    /**
     * Puts a file in force instead of the one on disk, which is ignored from then on.
     * @throws MeshpassError with the reason why it is not in force; the previous file stays
     */
    take: async (access: Access): Promise<void> => {
      delete problems.file;
      submitted?.done.reject(new MeshpassError('plan_stale', 'Another access file arrived in the meantime.'));
      const mine = { access, done: Promise.withResolvers<void>() };
      submitted = mine;
      const late = setTimeout(() => {
        if (submitted !== mine) return;
        const why = problems.apply ?? view.unready()[0] ?? 'the cluster did not respond in time';
        refuse(new MeshpassError('kubernetes_unavailable', `Failed to put the access file in force: ${why}`));
      }, LONGEST_WAIT_MS);
      candidate = access;
      soon();
      try {
        await mine.done.promise;
      } catch (thrown) {
        // The file on disk is in control again, and may have changed in the meantime.
        if (!isPlanned) await file.reload();
        throw thrown;
      } finally {
        clearTimeout(late);
      }
      isPlanned = true;
      tellIgnored();
    },
    /**
     * Continues with the file that was in force before a restart, not the one on disk. Objects that the mesh lacks may
     * appear later.
     */
    resume: (access: Access): void => {
      isPlanned = true;
      delete problems.file;
      former = access;
      candidate = access;
      soon();
    },
    /** Returns control to the file on disk, including later changes of it. */
    followDisk: async () => {
      isPlanned = false;
      tellIgnored();
      await file.reload();
    },
    /** Reads the access file now and compiles it again. */
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

function describeRefused(text: string): string {
  return `the access file on disk was rejected, so the previous file stays in force: ${text}`;
}
