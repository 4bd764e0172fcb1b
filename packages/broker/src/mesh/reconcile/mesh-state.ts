/**
 * State of the mesh and the access file. The file is watched, compiled and applied, and only then is it in force. An
 * invalid new file changes nothing. If the mesh loses objects that the file in force grants, the file is compiled
 * without them.
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
import { startReconciler } from '../reconciler.ts';
import { type DiskFile, openAccessFile } from './access-file.ts';
import { applyKeysOnly, applyManifests } from './apply.ts';
import type { ClusterView } from './cluster-view.ts';
import { describeSkippedServices, makePlan, makeReducedPlan, type Plan, type PlanInput } from './make-plan.ts';
import { type MeshProblems, tell } from './mesh-problems.ts';
import { createPolicyDecisions } from './policy-decisions.ts';
import { collectHttpServers } from './revocation/ended-sessions.ts';

// Options of the mesh state.

export interface StateOptions {
  readonly view: ClusterView;
  readonly kubernetes: Kubernetes;
  readonly mesh: MeshShape;
  readonly accessFile: string;
  /** Returns the token keys that sidecars must currently accept. */
  readonly tokens: () => IdentityTokens;
  readonly log: Log;
  /** Returns the current time, Unix seconds. */
  readonly now: () => number;
  /** Whether GitOps applies the compiled objects. If so, the broker writes only its keys and compares the rest. */
  readonly gitops?: boolean;
  /** Whether workspaces may use the API server if their grants have Kubernetes roles. */
  readonly offersKubernetes?: boolean;
  /** Interval at which drift is repaired, milliseconds. */
  readonly resync: number;
  /**
   * Resolves when this broker becomes active. Nothing is applied before then. If absent, the broker is already active.
   */
  readonly activated?: Promise<void> | undefined;
}

/** Access file from disk that was last in force, as read from the store. */
export interface FormerAccessFile {
  /** SHA-256 of its text, hex. */
  readonly digest: string;
  /** Parsed file. Undefined if this version of Meshpass refuses the text. */
  readonly access: Access | undefined;
}

/** Access file that was submitted instead of read from disk, with a promise for the caller who waits for it. */
interface Submitted {
  readonly access: Access;
  readonly done: PromiseWithResolvers<void>;
}

/** Maximum time that a caller waits for a submitted file to come into force, ms. */
const LONGEST_WAIT_MS = 25_000;

const AGAIN = 'the access file on disk was rejected, so the one from before the restart is in force again';

const IGNORED =
  'the access file on disk was changed but is ignored, because the one in force was applied with "meshpass policy apply". Apply the change ' +
  'in the same way, or return to the file on disk with "meshpass policy rollback 0". "meshpass policy history" lists the applied files';

/** Delay after a change, ms. Changes come in bursts, because a rollout replaces Pods one by one. */
const SETTLE_MS = 100;

/** Creates the state and starts the reconciler. */
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
  /** Whether this broker or the previous one applied a plan. The planned file is newer than the one on disk. */
  let isPlanned = false;
  let submitted: Submitted | undefined;
  /**
   * File that was in force before this broker became active. Objects that the mesh has lost since are omitted, as the
   * previous broker would have done. A file that was never in force is refused if objects are missing, because it may
   * be a mistake and sessions do not depend on it. If the file on disk is refused at startup, the former file comes
   * into force again. A restart therefore never changes more than a running broker would.
   */
  let former: Access | undefined;
  /** Digest of the file from disk that was last put in force. */
  let lastDigest: string | undefined;
  /** File on disk. `access` is absent if the file was refused. */
  let disk: { readonly access?: Access; readonly digest: string } | undefined;
  let drift = 0;
  /** Former file that the cluster does not match. Used with GitOps only. */
  let passedOver: Access | undefined;
  const problems: MeshProblems = {};

  /** Returns the file that remains in force while another one is tried. At startup, this is the former file. */
  const standing = (): Access | undefined => inForce?.access ?? former;

  /** Whether the file was in force before this broker became active. */
  const isFormer = (access: Access): boolean =>
    access === former || (lastDigest !== undefined && diskFiles.get(access)?.digest === lastDigest);

  /**
   * Returns the former file if it must be compared before a new one. This happens once at startup, with GitOps. A new
   * file comes into force only when the cluster matches it, and the cluster may still match the former file.
   */
  const goesFirst = (): Access | undefined => {
    const isOther = candidate !== undefined && !isFormer(candidate);
    return options.gitops && !inForce && isOther && former !== passedOver ? former : undefined;
  };

  const apply = startReconciler<Plan>({
    apply: async (plan) => {
      // A partial write would leave the cluster in an unknown state.
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
      // The file was withdrawn or replaced while it was being applied.
      else if (plan.access !== inForce?.access) soon();
      // A repeated run of the same content may be older than a plan that was adopted without applying it. The latest
      // plan is adopted, because Pods may have changed.
      else if (plan === latest || plan.content !== inForce.content) adopt(plan);
    },
    onFailed: (error, plan) => {
      const final = toPermanentError(error);
      const stays = standing();
      if (stays && plan.access !== stays && final) {
        // The file is not retried forever. A newer file that has arrived since then is not refused for this reason.
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
      // The operator must see the reason for a permanent refusal by Kubernetes.
      const why = (final ?? error).message;
      if (problems.apply !== why) {
        const told = { err: error, ...error.detail };
        if (isNamespaceTerminating(error)) log.info(told, 'a namespace was deleted during the change; trying again');
        else log.error(told, 'failed to apply policies; trying again');
      }
      problems.apply = why;
    },
    resync: options.resync,
    // The waiting plan was compiled with older keys.
    activated: options.activated?.then(() => recompile()),
  });

  const kubernetes = (): ReadonlyMap<string, readonly string[]> =>
    (options.offersKubernetes && inForce?.answers.kubernetes) || new Map();
  const services = (grants: readonly string[]) =>
    [...(inForce?.answers.services ?? [])].flatMap(([grant, some]) => (grants.includes(grant) ? some : []));

  /** Notifies listeners if anything that they can observe has changed. */
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
    publish(); // the roots do not need to be compiled
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
        // The file remains a candidate, because the missing Service may still appear.
        refuse(toMeshpassError(error));
      }
    }
    try {
      const stays = standing();
      if (stays) want(reduced(stays, planInput()));
    } catch (error) {
      // The applied objects remain in place: they were correct for the previous state of the mesh.
      problems.mesh = toMeshpassError(error).message;
      log.error({ err: error }, 'failed to compile the access file in force for the current mesh');
    }
  };

  /**
   * Follows the Pods in granted namespaces. These namespaces depend on both the access file and the cluster, because
   * entries may select by label.
   */
  const followGranted = (): void => {
    const outline = view.outline();
    if (!outline) return;
    const mesh: Mesh = { ...options.mesh, ...outline };
    const files = [candidate, standing()].filter((access) => access !== undefined);
    view.follow([...new Set(files.flatMap((access) => namespacesGranted(access, mesh)))].sort());
  };

  /** Compiles a file that is or was in force, and omits missing objects. */
  const reduced = (access: Access, planInput: PlanInput): Plan => {
    const { plan, missing } = makeReducedPlan(access, planInput);
    tell(problems, log, 'mesh', missing);
    return plan;
  };

  /** Applies a plan only if it differs, because Pods change all the time but rarely affect a policy. */
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
      // A new file was waiting for the former file to be compared.
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

  /** Refuses a new file. The file in force and all applied objects remain in place. */
  const refuse = (error: MeshpassError): void => {
    if (submitted) {
      submitted.done.reject(error);
      submitted = undefined;
      // The caller decides whether to try again. Until then, no file may come into force on its own.
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
  /** Warns if the file on disk has changed while a planned file is in force. An older file on disk is expected. */
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
     * Whether an access file has been applied since startup. Before then, sessions are not admitted and edges do not
     * receive anything.
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
    /** Returns the services that the given grants reach. */
    services,
    /**
     * Returns the namespaces in which each grant has a Kubernetes role. Empty if workspaces cannot use the API server.
     */
    kubernetes,
    /** Returns the ports that the file in force grants. Cluster addresses must not leave the broker. */
    ports: (): readonly GrantedPort[] => inForce?.answers.ports ?? [],
    /** Returns a version that changes whenever the results of `services`, `kubernetes` or `roots` change. */
    version: () => version,
    /** Registers a listener for changes to access, services or roots. Returns a function that unsubscribes it. */
    onChange: (listener: () => void): (() => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    /**
     * Returns the subset of `unready` that also applies to a standby. A standby does not apply anything, but it must be
     * able to see the cluster.
     */
    unseen: view.unready,
    /** Returns why the file on disk cannot come into force: it is unreadable, or grants objects that the mesh lacks. */
    fileProblem: () => problems.file,
    /**
     * Sets the access file that was in force before startup. Objects that the mesh has lost since are omitted. The file
     * comes into force again if the one on disk is refused.
     */
    wasInForce: ({ digest, access }: FormerAccessFile): void => {
      // A file that a plan applied is newer.
      const next = isPlanned ? former : access;
      if (digest === lastDigest && next === former) return;
      lastDigest = digest;
      former = next;
      soon();
    },
    /** Returns the reasons why the broker is not ready. Empty if it is ready. */
    unready: (): readonly string[] => [
      ...view.unready(),
      ...(inForce ? [] : [problems.file ?? problems.apply ?? 'the access file has not been applied yet']),
    ],
    /** Returns the number of objects that differ from the compiled ones. Undefined without GitOps. */
    drift: () => (options.gitops ? drift : undefined),
    /**
     * Returns the problems that an operator must fix even though the broker continues to work: a refused file, a failed
     * apply, missing targets.
     */
    problems: () =>
      Object.entries(problems).map(([kind, text]) => (kind === 'file' && inForce ? describeRefused(text) : text)),
    /** Returns the ids of the token keys that were last applied to sidecars. Empty before the first time. */
    tokenKeys: () => tokenKeys,
    /** Applies the broker's new token keys to sidecars. */
    tokenKeysChanged: soon,
    /** Returns the servers that verify identity tokens. Undefined until an access file is in force. */
    httpServers: () => inForce && collectHttpServers(inForce.access, services),
    /** Registers the listener for decisions about access files, for the audit log. */
    onDecision: decisions.listen,
    /**
     * Puts a file in force instead of the one on disk. The file on disk is ignored from then on.
     * @throws MeshpassError with the reason if the file did not come into force. The previous file then remains in
     *   force
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
        // The file on disk applies again, and may have changed in the meantime.
        if (!isPlanned) await file.reload();
        throw thrown;
      } finally {
        clearTimeout(late);
      }
      isPlanned = true;
      tellIgnored();
    },
    /**
     * Continues with the file that was in force before a restart instead of the one on disk. Objects that the mesh
     * lacks may appear later.
     */
    resume: (access: Access): void => {
      isPlanned = true;
      delete problems.file;
      former = access;
      candidate = access;
      soon();
    },
    /** Follows the file on disk again, including later changes to it. */
    followDisk: async () => {
      isPlanned = false;
      tellIgnored();
      await file.reload();
    },
    /** Reads the access file immediately and compiles it again. */
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
