/**
 * The state of the mesh and the access file. The file is watched, compiled and applied, and only comes into force after
 * that. An invalid new file changes nothing. If objects that the file in force grants disappear from the mesh, the file
 * is compiled without them.
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
import { MeshpassError, sha256Hex, toMeshpassError } from '@meshpass/identity';
import type { Mesh } from '@meshpass/istio';
import type { Log } from '../../base/index.ts';
import { isNamespaceTerminating, toPermanentError } from '../kubernetes/http.ts';
import type { Kubernetes } from '../kubernetes/kubernetes.ts';
import { startReconciler } from '../reconciler.ts';
import { type DiskFile, openAccessFile } from './access-file.ts';
import { applyKeysOnly, applyManifests } from './apply-compiled.ts';
import type { ClusterView } from './cluster-view.ts';
import { describeSkippedServices, makePlan, makeReducedPlan, type Plan, type PlanInput } from './make-plan.ts';
import { type MeshProblems, tell } from './mesh-problems.ts';
import { createPolicyDecisions } from './policy-decisions.ts';
import { collectHttpServers } from './revocation/ended-sessions.ts';

export interface StateOptions {
  readonly view: ClusterView;
  readonly kubernetes: Kubernetes;
  readonly mesh: MeshShape;
  readonly accessFile: string;
  /** Returns the token keys that sidecars currently have to accept. */
  readonly tokens: () => IdentityTokens;
  readonly log: Log;
  /** Returns the current time in Unix seconds. */
  readonly now: () => number;
  /**
   * Whether a GitOps controller applies the compiled objects. If so, the broker only writes its keys and compares
   * everything else.
   */
  readonly gitops?: boolean;
  /** Whether workspaces may use the API server if their grants include Kubernetes roles. */
  readonly offersKubernetes?: boolean;
  /** How often drift is repaired, in milliseconds. */
  readonly resync: number;
  /**
   * Resolves when this broker becomes active. Nothing is applied before that. If absent, the broker is already active.
   */
  readonly activated?: Promise<void> | undefined;
}

/** The access file from disk that was last in force, as recorded in the store. */
export interface FormerAccessFile {
  /** The SHA-256 hash of the file's text, in hex. */
  readonly digest: string;
  /** The parsed file, or undefined if this version of Meshpass rejects its text. */
  readonly access: Access | undefined;
}

/** An access file that was submitted rather than read from disk, and the promise that its submitter is waiting for. */
interface Submitted {
  readonly access: Access;
  readonly done: PromiseWithResolvers<void>;
}

/** How long a caller waits for a submitted file to come into force, in milliseconds. */
const LONGEST_WAIT_MS = 25_000;

const AGAIN = 'the access file on disk was rejected, so the one from before the restart is in force again';

const IGNORED =
  'the access file on disk was changed but is ignored, because the one in force was applied with "meshpass policy apply". Apply the change ' +
  'in the same way, or return to the file on disk with "meshpass policy rollback 0". "meshpass policy history" lists the applied files';

/**
 * How long to wait after a change before compiling, in milliseconds. Changes come in bursts, because a rollout replaces
 * Pods one by one.
 */
const SETTLE_MS = 100;

/** Creates the mesh state and starts applying the access file. */
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
  /**
   * Whether the access file was applied from a plan, by this broker or the previous one. Such a file is newer than the
   * one on disk.
   */
  let isPlanned = false;
  let submitted: Submitted | undefined;
  /**
   * The file that was in force before this broker became active. Objects that have disappeared from the mesh since then
   * are left out, just as the previous broker would have done. By contrast, a file that was never in force is rejected
   * if objects are missing, because it may contain a mistake and no sessions depend on it. If the file on disk is
   * rejected at startup, the former file comes into force again. This way, a restart never changes more than a running
   * broker would have changed.
   */
  let former: Access | undefined;
  /** The digest of the file from disk that was last in force. */
  let lastDigest: string | undefined;
  /** The file on disk. `access` is absent if the file was rejected. */
  let disk: { readonly access?: Access; readonly digest: string } | undefined;
  let drift = 0;
  /** The former file, if it does not match the cluster. Only used with GitOps. */
  let passedOver: Access | undefined;
  const problems: MeshProblems = {};

  /** Returns the file that stays in force while a new one is tried. At startup, this is the former file. */
  const standing = (): Access | undefined => inForce?.access ?? former;

  /** Whether the file was in force before this broker became active. */
  const isFormer = (access: Access): boolean =>
    access === former || (lastDigest !== undefined && diskFiles.get(access)?.digest === lastDigest);

  /**
   * Returns the former file if it has to be compared with the cluster before the new one. This only happens once at
   * startup, and only with GitOps. A new file does not come into force until the cluster matches it, and the cluster
   * may still match the former file.
   */
  const goesFirst = (): Access | undefined => {
    const isOther = candidate !== undefined && !isFormer(candidate);
    return options.gitops && !inForce && isOther && former !== passedOver ? former : undefined;
  };

  const apply = startReconciler<Plan>({
    apply: async (plan) => {
      // If only some objects are written, the state of the cluster is unknown.
      if (plan.content !== applied) applied = '';
      const nextChange = await (options.gitops ? applyKeysOnly : applyManifests)(plan.manifests, options);
      return nextChange && (nextChange - options.now()) * 1000;
    },
    onApplied: (plan) => {
      delete problems.apply;
      drift = 0;
      applied = plan.content;
      tokenKeys = plan.tokenKeys;
      if (plan.access === candidate || (!inForce && plan.access === former)) adopt(plan);
      // The file was withdrawn or replaced by another one while it was being applied.
      else if (plan.access !== inForce?.access) soon();
      // When the same content is applied again, its plan may be older than one that was adopted without being applied.
      // Only the latest plan is adopted, because Pods may have changed since then.
      else if (plan === latest || plan.content !== inForce.content) adopt(plan);
    },
    onFailed: (error, plan) => {
      const final = toPermanentError(error);
      const stays = standing();
      if (stays && plan.access !== stays && final) {
        // Do not retry this file forever. If a newer file has arrived in the meantime, it must not be rejected for this
        // reason.
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
      // If Kubernetes rejects a change permanently, the operator has to see the reason.
      const why = (final ?? error).message;
      if (problems.apply !== why) {
        const told = { err: error, ...error.detail };
        if (isNamespaceTerminating(error)) log.info(told, 'a namespace was deleted during the change; trying again');
        else log.error(told, 'failed to apply policies; trying again');
      }
      problems.apply = why;
    },
    resync: options.resync,
    // The plan that is waiting to be applied was compiled with outdated keys.
    activated: options.activated?.then(() => recompile()),
  });

  const kubernetes = (): ReadonlyMap<string, readonly string[]> =>
    (options.offersKubernetes && inForce?.answers.kubernetes) || new Map();
  const services = (grants: readonly string[]) =>
    [...(inForce?.answers.services ?? [])].flatMap(([grant, some]) => (grants.includes(grant) ? some : []));

  /** Notifies the listeners if anything that they can observe has changed. */
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
    publish(); // a change of the roots is published without compiling anything
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
        // The file remains a candidate because the missing Service may still appear.
        refuse(toMeshpassError(error));
      }
    }
    try {
      const stays = standing();
      if (stays) want(reduced(stays, planInput()));
    } catch (error) {
      // The applied objects stay in place, because they were correct for the previous state of the mesh.
      problems.mesh = toMeshpassError(error).message;
      log.error({ err: error }, 'failed to compile the access file in force for the current mesh');
    }
  };

  /**
   * Follows the Pods in all granted namespaces. Which namespaces are granted depends on the access file and on the
   * cluster, because an entry may select by label.
   */
  const followGranted = (): void => {
    const outline = view.outline();
    if (!outline) return;
    const mesh: Mesh = { ...options.mesh, ...outline };
    const files = [candidate, standing()].filter((access) => access !== undefined);
    view.follow([...new Set(files.flatMap((access) => namespacesGranted(access, mesh)))].sort());
  };

  /** Compiles a file that is or was in force, leaving out missing objects. */
  const reduced = (access: Access, planInput: PlanInput): Plan => {
    const { plan, missing } = makeReducedPlan(access, planInput);
    tell(problems, log, 'mesh', missing);
    return plan;
  };

  /**
   * Applies a plan only if it differs from the applied one, because Pods change all the time but rarely affect a
   * policy.
   */
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
      // A new file was waiting until the former file had been compared with the cluster.
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

  /** Rejects a new file. The file that is in force and all applied objects stay in place. */
  const refuse = (error: MeshpassError): void => {
    if (submitted) {
      submitted.done.reject(error);
      submitted = undefined;
      // It is up to the caller to try again. Until then, the file must not come into force on its own.
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
  /**
   * Warns if the file on disk was changed while a file from a plan is in force. It is normal for the file on disk to be
   * older.
   */
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
     * Whether an access file has come into force since startup. Before that, no sessions are admitted, and edges do not
     * receive anything.
     */
    inForce: () => inForce !== undefined,
    /**
     * Returns the access file that is in force.
     * @throws MeshpassError `kubernetes_unavailable` if no file is in force yet
     */
    access: (): Access => {
      if (inForce) return inForce.access;
      const why = 'The access file is not in force yet: the broker is starting.';
      throw new MeshpassError('kubernetes_unavailable', why, { retryAfter: 1 });
    },
    /** Returns the root certificates of the mesh in PEM format. */
    roots: view.roots,
    /** Returns the services that can be reached with the given grants. */
    services,
    /**
     * Returns the namespaces in which each grant has a Kubernetes role. The result is empty if workspaces cannot use
     * the API server.
     */
    kubernetes,
    /**
     * Returns the ports that the access file in force grants. The cluster addresses in the result must not leave the
     * broker.
     */
    ports: (): readonly GrantedPort[] => inForce?.answers.ports ?? [],
    /** Returns a version that changes whenever `services`, `kubernetes` or `roots` would return a different result. */
    version: () => version,
    /**
     * Registers a listener for changes to the access file, services or roots. Returns a function that removes the
     * listener.
     */
    onChange: (listener: () => void): (() => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    /**
     * Returns the reasons in `unready` that also apply to a standby. A standby does not apply anything, but it has to
     * be able to see the cluster.
     */
    unseen: view.unready,
    /**
     * Returns the reason why the file on disk cannot come into force, for example because it cannot be read or because
     * it grants objects that do not exist in the mesh.
     */
    fileProblem: () => problems.file,
    /**
     * Sets the access file that was in force before startup. Objects that have disappeared from the mesh since then are
     * left out. This file comes into force again if the one on disk is rejected.
     */
    wasInForce: ({ digest, access }: FormerAccessFile): void => {
      // A file that was applied from a plan is newer than the stored one.
      const next = isPlanned ? former : access;
      if (digest === lastDigest && next === former) return;
      lastDigest = digest;
      former = next;
      soon();
    },
    /** Returns the reasons why the broker is not ready, or an empty list if it is ready. */
    unready: (): readonly string[] => [
      ...view.unready(),
      ...(inForce ? [] : [problems.file ?? problems.apply ?? 'the access file has not been applied yet']),
    ],
    /** Returns the number of objects that differ from the compiled ones, or undefined if GitOps is not used. */
    drift: () => (options.gitops ? drift : undefined),
    /**
     * Returns the problems that an operator has to fix even though the broker keeps working, such as a rejected file,
     * policies that could not be applied, or missing targets.
     */
    problems: () =>
      Object.entries(problems).map(([kind, text]) => (kind === 'file' && inForce ? describeRefused(text) : text)),
    /**
     * Returns the IDs of the token keys that were last applied to sidecars. The set is empty until keys have been
     * applied for the first time.
     */
    tokenKeys: () => tokenKeys,
    /** Call this when the broker's token keys have changed, so that the new ones are applied to sidecars. */
    tokenKeysChanged: soon,
    /** Returns the servers that verify identity tokens, or undefined until an access file is in force. */
    httpServers: () => inForce && collectHttpServers(inForce.access, services),
    /** Registers the audit log as the listener for decisions about access files. */
    onDecision: decisions.listen,
    /**
     * Puts a file into force instead of the one on disk. After that, the file on disk is ignored.
     * @throws MeshpassError with the reason if the file did not come into force. In that case, the previous file stays
     *   in force.
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
        // The file on disk is used again now, and it may have changed in the meantime.
        if (!isPlanned) await file.reload();
        throw thrown;
      } finally {
        clearTimeout(late);
      }
      isPlanned = true;
      tellIgnored();
    },
    /**
     * Continues with the file that was in force before a restart instead of the one on disk. Objects that are missing
     * from the mesh may still appear later.
     */
    resume: (access: Access): void => {
      isPlanned = true;
      delete problems.file;
      former = access;
      candidate = access;
      soon();
    },
    /** Switches back to the file on disk and follows all later changes to it. */
    followDisk: async () => {
      isPlanned = false;
      tellIgnored();
      await file.reload();
    },
    /** Reads the access file again immediately and compiles it. */
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

/** The complete mesh state, including the controls for the process that runs it. */
export type LiveMeshState = ReturnType<typeof createMeshState>;

function describeRefused(text: string): string {
  return `the access file on disk was rejected, so the previous file stays in force: ${text}`;
}
