/**
 * Brings the cluster into the state that the compiled access file describes, whatever state it was in before. It
 * applies the wanted objects and removes all others that the broker manages. Denials are applied before any objects
 * that open access, so that a Gateway is only opened once its policies are in place.
 */

import { GRANT_LABEL, type Manifest } from '@meshpass/access';
import { resourceChanges } from '@meshpass/analysis/plan';
import { MeshpassError } from '@meshpass/identity';
import { loadObject } from '@meshpass/istio';
import type { Log } from '../../base/index.ts';
import { toPermanentError } from '../kubernetes/http.ts';
import type { Kubernetes, ListedObject } from '../kubernetes/kubernetes.ts';
import { COMPILED_POLICY_SELECTOR } from './revocation/deny-policy.ts';
import { RETIRED_POLICY_NAME, readRetiredNamespaces, retirementPolicy } from './revocation/retired-grants.ts';

export interface ApplyOptions {
  readonly kubernetes: Pick<Kubernetes, 'apply' | 'remove' | 'list'>;
  readonly mesh: { readonly rootNamespace: string; readonly gateway: { readonly namespace: string } };
  /** Returns the current time in Unix seconds. */
  readonly now: () => number;
  readonly log: Log;
}

/**
 * How long the SVID of a removed grant can remain valid, in seconds: the longest possible `ttl`, plus the clock skew
 * that verifiers tolerate.
 */
const LONGEST_SVID_LIFE = 3600 + 120;

/**
 * The order in which kinds are applied. They are removed in reverse order so that access is closed before denials are
 * removed.
 */
const ORDER = ['RequestAuthentication', 'AuthorizationPolicy', 'Namespace', 'RoleBinding', 'Sidecar', 'Gateway'];

const AT_ONCE = 8;

/**
 * Applies the manifests, which the compiler has labelled as managed by the broker, and stops at the first failure. If
 * only some of them are applied, they never allow more than all of them would.
 * @returns the time (in Unix seconds) at which this must run again even if nothing changes
 * @throws MeshpassError `kubernetes_unavailable`, or `internal` for a kind that is not in ORDER
 */
export async function applyManifests(wanted: readonly Manifest[], options: ApplyOptions) {
  const { kubernetes } = options;
  const unknown = wanted.find(({ kind }) => !ORDER.includes(kind));
  if (unknown) throw new MeshpassError('internal', `The order in which to apply a ${unknown.kind} is not known.`);

  const present = await readPresent(options);
  const keys = new Set(wanted.map(keyOf));
  const standing = new Set(present.map(keyOf));
  const unwanted = present.filter(
    (object) => !keys.has(keyOf(object)) && object.metadata.deletionTimestamp === undefined,
  );

  const retirement = await applyRetirement(wanted, unwanted, options);
  for (const kind of ORDER) {
    const ofKind = wanted.filter((manifest) => manifest.kind === kind);
    refuseEnding(ofKind, present);
    // An existing guard must not admit more traffic before the rules for that traffic are in place.
    const guards = ofKind.filter((one) => isGuard(one, options) && standing.has(keyOf(one)));
    const others = ofKind.filter((one) => !guards.includes(one));
    for (const some of [others, guards]) await batches(some, kubernetes.apply);
  }
  for (const kind of ORDER.toReversed()) {
    const ofKind = unwanted.filter((object) => object.kind === kind);
    await batches(ofKind, kubernetes.remove);
  }
  if (!retirement.policy) {
    const metadata = { name: RETIRED_POLICY_NAME, namespace: options.mesh.rootNamespace };
    await kubernetes.remove({ kind: 'AuthorizationPolicy', metadata });
  }
  const removed = unwanted.map(({ kind, metadata }) => `${kind} ${metadata.namespace ?? ''}/${metadata.name}`);
  if (removed.length > 0) options.log.info({ removed }, 'removed objects that the access file no longer needs');
  return retirement.nextChange;
}

/**
 * Uses a dry run to check whether the cluster would accept the manifests.
 * @throws MeshpassError `policy_forbidden` if it would not, `kubernetes_unavailable` if it does not respond
 */
export async function dryRunManifests(
  manifests: readonly Manifest[],
  kubernetes: Pick<Kubernetes, 'rehearse'>,
): Promise<void> {
  await batches(manifests, (manifest) =>
    kubernetes.rehearse(manifest).catch((thrown: unknown) => {
      throw (thrown instanceof MeshpassError && toPermanentError(thrown)) || thrown;
    }),
  );
}

function isGuard({ kind, metadata }: Manifest, { mesh }: ApplyOptions): boolean {
  return kind === 'AuthorizationPolicy' && metadata.namespace === mesh.rootNamespace;
}

async function applyRetirement(wanted: readonly Manifest[], unwanted: readonly ListedObject[], options: ApplyOptions) {
  const { rootNamespace } = options.mesh;
  const isNamespace = ({ kind }: { readonly kind: string }): boolean => kind === 'Namespace';
  const gone = unwanted.filter(isNamespace);
  const current = await readRetiredNamespaces(options.kubernetes, rootNamespace);
  const retirement = retirementPolicy(
    current,
    gone.map(({ metadata }) => metadata.name),
    new Set(wanted.filter(isNamespace).map(({ metadata }) => metadata.name)),
    { now: options.now(), life: LONGEST_SVID_LIFE, rootNamespace },
  );
  if (retirement.policy) await options.kubernetes.apply(retirement.policy);
  return retirement;
}

/**
 * Throws if an object that would be written is being deleted. The write would succeed, but the object would disappear
 * afterwards.
 */
function refuseEnding(wanted: readonly Manifest[], present: readonly ListedObject[]): void {
  const ending = present.filter(({ metadata }) => metadata.deletionTimestamp !== undefined).map(keyOf);
  const still = wanted.find((manifest) => ending.includes(keyOf(manifest)));
  if (!still) return;
  const name = `${still.kind} ${still.metadata.name}`;
  throw new MeshpassError('kubernetes_unavailable', `${name} is still being deleted. The broker will recreate it.`);
}

/**
 * Lists the objects in the cluster that the broker manages. Kinds that have no fixed namespace are listed in all
 * namespaces.
 */
async function readPresent(options: ApplyOptions): Promise<readonly ListedObject[]> {
  const { kubernetes, mesh } = options;
  const home: Partial<Record<string, string>> = {
    RequestAuthentication: mesh.rootNamespace,
    Gateway: mesh.gateway.namespace,
  };
  const lists = await Promise.all(ORDER.map((kind) => kubernetes.list(kind, COMPILED_POLICY_SELECTOR, home[kind])));
  // Deleting a Namespace also deletes everything in it, so only Namespaces that were created for a grant are included.
  return lists
    .flat()
    .filter(({ kind, metadata }) => kind !== 'Namespace' || metadata.labels?.[GRANT_LABEL] !== undefined);
}

function keyOf({ kind, metadata }: Pick<ListedObject, 'kind' | 'metadata'>): string {
  return `${kind}/${metadata.namespace ?? ''}/${metadata.name}`;
}

async function batches<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let from = 0; from < items.length; from += AT_ONCE) {
    await Promise.all(items.slice(from, from + AT_ONCE).map(work));
  }
}

// In GitOps mode, a controller such as Argo CD or Flux applies the committed manifests. The broker only writes its
// token keys, which are not in any repository, and compares all other objects. An access file comes into force once the
// cluster matches its compiled form.

const SHOWN = 10;

/**
 * Applies only the RequestAuthentication objects and compares all other objects with the cluster.
 * @throws MeshpassError `policy_drift`, `kubernetes_unavailable`
 */
export async function applyKeysOnly(manifests: readonly Manifest[], options: ApplyOptions) {
  const isKeys = ({ kind }: { readonly kind: string }): boolean => kind === 'RequestAuthentication';
  for (const manifest of manifests.filter(isKeys)) await options.kubernetes.apply(manifest);
  const present = (await readPresent(options)).filter((object) => !isKeys(object));
  const drift = resourceChanges(
    present.flatMap((object) => [...loadObject(object, object.kind).resources]),
    manifests.filter((manifest) => !isKeys(manifest)),
  );
  if (drift.length === 0) return undefined;
  const lines = drift.slice(0, SHOWN).map(({ does, kind, name }) => `${does} ${kind} ${name}`);
  if (drift.length > SHOWN) lines.push(`and ${drift.length - SHOWN} more`);
  throw new MeshpassError(
    'policy_drift',
    `The cluster differs from the compiled access file. Commit and apply: ${lines.join(', ')}.`,
    { detail: { drift: drift.length } },
  );
}
