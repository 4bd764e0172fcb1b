/**
 * Makes the cluster be what the access file compiles to, from any state: applies what is wanted, removes what is ours
 * and no longer wanted. Denials come before doors: a Gateway opens only over policies that stand.
 */

import { GRANT_LABEL, MANAGED_BY, MANAGED_BY_LABEL, type Manifest } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';
import { permanentRefusal } from '../kubernetes/http.ts';
import type { Kubernetes, ListedObject } from '../kubernetes/kubernetes.ts';
import { COMPILED } from './revocation/deny-policy.ts';
import { RETIRED, readRetired, retire } from './revocation/retired-grants.ts';

export interface ApplyOptions {
  readonly kubernetes: Pick<Kubernetes, 'apply' | 'remove' | 'list'>;
  readonly rootNamespace: string;
  readonly gatewayNamespace: string;
  /** Unix seconds. */
  readonly now: number;
  /** Seconds that an SVID of a removed grant may still live. */
  readonly svidLife: number;
}

export interface Applied {
  readonly applied: number;
  /** `Kind namespace/name` of what was removed. */
  readonly removed: readonly string[];
  /** Unix seconds at which it should be called again though nothing changes. */
  readonly nextChange: number | undefined;
}

/** Order of applying; removing goes the other way round, so doors close before denials go. */
const ORDER = [
  ...(['RequestAuthentication', 'AuthorizationPolicy', 'Namespace', 'RoleBinding', 'Sidecar', 'Gateway'] as const),
];
const AT_ONCE = 8;

/**
 * Stops at the first failure: what was applied until then denies more, never less.
 * @throws MeshpassError `kubernetes_unavailable`, `internal` for a kind that is not in ORDER
 */
export async function applyManifests(wanted: readonly Manifest[], options: ApplyOptions): Promise<Applied> {
  const { kubernetes } = options;
  const rank = (object: { readonly kind: string }): number => ORDER.indexOf(object.kind as (typeof ORDER)[number]);
  const unknown = wanted.find((manifest) => rank(manifest) < 0);
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
    // A guard that stands lets in more only once the rules for what it lets in stand.
    const [guards, others] = partition(ofKind, (one) => isGuard(one, options) && standing.has(keyOf(one)));
    await batches(others, (manifest) => kubernetes.apply(labelled(manifest)));
    await batches(guards, (manifest) => kubernetes.apply(labelled(manifest)));
  }
  for (const kind of ORDER.toReversed()) {
    const ofKind = unwanted.filter((object) => object.kind === kind);
    await batches(ofKind, (object) => kubernetes.remove(object));
  }
  if (!retirement.policy) {
    const metadata = { name: RETIRED, namespace: options.rootNamespace };
    await kubernetes.remove({ kind: 'AuthorizationPolicy', metadata });
  }
  const removed = unwanted.map(({ kind, metadata }) => `${kind} ${metadata.namespace ?? ''}/${metadata.name}`);
  return { applied: wanted.length, removed, nextChange: retirement.nextChange };
}

/**
 * Whether the cluster would let them be applied.
 * @throws MeshpassError `policy_forbidden` where it would not, `kubernetes_unavailable` where it cannot be asked
 */
export async function rehearse(
  manifests: readonly Manifest[],
  kubernetes: Pick<Kubernetes, 'rehearse'>,
): Promise<void> {
  await batches(manifests, (manifest) =>
    kubernetes.rehearse(labelled(manifest)).catch((thrown: unknown) => {
      throw (thrown instanceof MeshpassError && permanentRefusal(thrown)) || thrown;
    }),
  );
}

function isGuard({ kind, metadata }: Manifest, { rootNamespace }: ApplyOptions): boolean {
  return kind === 'AuthorizationPolicy' && metadata.namespace === rootNamespace;
}

function partition<T>(items: readonly T[], isFirst: (item: T) => boolean): readonly [T[], T[]] {
  return [items.filter(isFirst), items.filter((item) => !isFirst(item))];
}

async function applyRetirement(wanted: readonly Manifest[], unwanted: readonly Present[], options: ApplyOptions) {
  const isNamespace = ({ kind }: { readonly kind: string }): boolean => kind === 'Namespace';
  const gone = unwanted.filter(isNamespace);
  const current = await readRetired(options.kubernetes, options.rootNamespace);
  const retirement = retire(
    current,
    gone.map(({ metadata }) => metadata.name),
    new Set(wanted.filter(isNamespace).map(({ metadata }) => metadata.name)),
    { now: options.now, life: options.svidLife, rootNamespace: options.rootNamespace },
  );
  if (retirement.policy) await options.kubernetes.apply(retirement.policy);
  return retirement;
}

/** What is being deleted can still be written to, and then vanishes all the same: it has to be waited for. */
function refuseEnding(wanted: readonly Manifest[], present: readonly Present[]): void {
  const ending = present.filter(({ metadata }) => metadata.deletionTimestamp !== undefined).map(keyOf);
  const still = wanted.find((manifest) => ending.includes(keyOf(manifest)));
  if (!still) return;
  const name = `${still.kind} ${still.metadata.name}`;
  throw new MeshpassError('kubernetes_unavailable', `${name} is still being removed; it is created again after that.`);
}

type Present = ListedObject & { readonly kind: string };

/** Where the others are not bound to one namespace, they are looked for in all. */
async function readPresent(options: ApplyOptions): Promise<readonly Present[]> {
  const { kubernetes, rootNamespace, gatewayNamespace } = options;
  const home: Partial<Record<string, string>> = { RequestAuthentication: rootNamespace, Gateway: gatewayNamespace };
  const lists = await Promise.all(
    ORDER.map(async (kind) =>
      (await kubernetes.list(kind, COMPILED, home[kind])).map((object) => ({ ...object, kind })),
    ),
  );
  // With a Namespace goes all that is in it: only one that was made for a grant may be thought of.
  return lists
    .flat()
    .filter(({ kind, metadata }) => kind !== 'Namespace' || metadata.labels?.[GRANT_LABEL] !== undefined);
}

/** The label by which it is found again is not left to the compiler. */
function labelled(manifest: Manifest): Manifest {
  const { metadata } = manifest;
  return { ...manifest, metadata: { ...metadata, labels: { ...metadata.labels, [MANAGED_BY_LABEL]: MANAGED_BY } } };
}

function keyOf({
  kind,
  metadata,
}: Pick<Manifest, 'kind'> & { metadata: { name: string; namespace?: string } }): string {
  return `${kind}/${metadata.namespace ?? ''}/${metadata.name}`;
}

async function batches<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let from = 0; from < items.length; from += AT_ONCE) {
    await Promise.all(items.slice(from, from + AT_ONCE).map(work));
  }
}
