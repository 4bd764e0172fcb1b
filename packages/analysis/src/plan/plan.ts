/**
 * A change of the access file before it is made: which objects it writes, what it means, and whether it may be made. Made for
 * one state of the cluster, which its hash names; for another state it is worth nothing.
 */

import {
  type Access,
  compile,
  GRANT_LABEL,
  type IdentityTokens,
  isOurs,
  type Manifest,
  type MeshShape,
  meshOf,
  resolveAccess,
  SOURCE_ANNOTATION,
  settingsOf,
} from '@meshpass/access/compile';
import { grantNamespace, MeshpassError } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import { describeUnplaced, loadObject, type Resource, withCreationTimes } from '@meshpass/istio';
import { canonicalJson } from '../canonical-json.ts';
import { analysisContext } from './context.ts';
import type { Finding } from './finding.ts';
import { type PeopleChange, peopleChanges } from './people-changes.ts';
import { prove } from './prove.ts';
import { type ReachChange, reachChanges } from './reach-changes.ts';
import { type ResourceChange, resourceChanges } from './resource-changes.ts';
import { routeNotes } from './route-notes.ts';
import { isRevocation, stateOf } from './state.ts';
import { type TrustChange, trustChanges } from './trust-changes.ts';
import { ofUnread } from './unknown.ts';

export interface PlanInput {
  readonly access: Access;
  /** The access file in force, where it is known. */
  readonly inForce?: Access | undefined;
  /** Everything of the cluster that is known: Services, workloads, policies, and what Meshpass has written before. */
  readonly cluster: readonly Resource[];
  readonly shape: MeshShape;
  readonly trustDomainAliases?: readonly string[];
  readonly tokens: IdentityTokens;
  /** Why not everything was read that may hold policies: whether the change may be made is not known then. */
  readonly unread?: string | undefined;
}

export interface Plan {
  /** SHA-256 of the access file's content and of the state that it was made for, hex. */
  readonly id: string;
  /** SHA-256 of that state alone. */
  readonly state: string;
  readonly manifests: readonly Manifest[];
  readonly resources: readonly ResourceChange[];
  /** What holders of each grant gain and lose. */
  readonly reach: readonly ReachChange[];
  /** Who may hold each grant, as far as that changes; empty where the access file in force is not known. */
  readonly people: readonly PeopleChange[];
  /** Whom the broker itself trusts, as far as that changes; empty where the access file in force is not known. */
  readonly trust: readonly TrustChange[];
  readonly findings: readonly Finding[];
  /** Namespaces whose Pods are taken to have a sidecar because they were not read. */
  readonly assumed: readonly string[];
  /** Objects that name no namespace and are taken to be in `default`, in words. */
  readonly unplaced?: string;
}

const COMPILED_KINDS: readonly string[] = [
  ...['Namespace', 'RoleBinding', 'RequestAuthentication', 'AuthorizationPolicy', 'Sidecar', 'Gateway'],
];

/**
 * Plans a change of the access file against one state of the cluster.
 * @throws MeshpassError `access_service_unknown` and others of `compile`; `policy_too_large`
 * @example
 * ```ts
 * import { parseAccess } from '@meshpass/access';
 * import { planChange } from '@meshpass/analysis/plan';
 * import { loadManifests } from '@meshpass/istio';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}]}`, 'access.yaml');
 * const shape = {
 *   ...{ trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local' },
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * const tokens = {
 *   ...{ issuer: 'https://broker.example', audience: 'mesh', header: 'x-meshpass-token' },
 *   jwks: '{"keys":[{"kty":"RSA","kid":"1","n":"AQAB","e":"AQAB"}]}',
 * };
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const cluster = loadManifests(orders, 'cluster.yaml').resources;
 * const plan = planChange({ access, cluster, shape, tokens });
 * plan.reach.map(({ grant, does, what, service }) => [grant, does, what, service]); // => [['dev', 'gains', 'every call', 'orders.shop:80']]
 * plan.findings; // => []
 * ```
 */
export function planChange(input: PlanInput): Plan {
  const { access, shape, tokens } = input;
  const cluster = input.cluster.filter((one) => !isRevocation(one));
  const mesh = meshOf(cluster, shape);
  const manifests = compile(access, mesh, tokens);
  const present = cluster.filter(isCompiled);
  const settings = settingsOf(cluster, shape, input.trustDomainAliases);
  const { grants } = resolveAccess(access, mesh);
  const before = present.flatMap((one) => (one.kind === 'Namespace' ? [one.metadata.labels![GRANT_LABEL]!] : []));
  const after = [
    ...cluster.filter((one) => !isCompiled(one)),
    ...withCreationTimes([...manifests, ...retired(before, access, shape)].flatMap(toResource), cluster),
  ];
  const holders = [...new Set([...access.grants.map(({ name }) => name), ...before])].sort();
  const context = analysisContext({
    before: cluster,
    after,
    grants,
    mesh,
    settings,
    tokens,
    holders,
    unread: input.unread,
  });
  const unplaced = describeUnplaced(cluster);
  const state = stateOf(cluster);
  return {
    state,
    id: sha256Hex(canonicalJson([access, state])),
    manifests,
    resources: resourceChanges(present, manifests),
    reach: reachChanges(context, mesh.clusterDomain, labelled(present)),
    people: input.inForce ? peopleChanges(input.inForce, access) : [],
    trust: input.inForce ? trustChanges(input.inForce, access) : [],
    findings: [
      ...(input.unread === undefined ? [] : [ofUnread(input.unread)]),
      ...prove(context),
      ...routeNotes(cluster, grants, shape),
    ],
    assumed: context.dataPlanes.assumed(context.endpoints),
    ...(unplaced !== undefined && { unplaced }),
  };
}

export interface Acceptance {
  /** Somebody answers for what is not known. */
  readonly acceptUnknown?: boolean;
}

/**
 * The findings that keep a change from being applied.
 * @example
 * ```ts
 * import { parseAccess } from '@meshpass/access';
 * import { planChange, refusals } from '@meshpass/analysis/plan';
 * import { loadManifests } from '@meshpass/istio';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}]}`, 'access.yaml');
 * const shape = {
 *   ...{ trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local' },
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * const tokens = {
 *   ...{ issuer: 'https://broker.example', audience: 'mesh', header: 'x-meshpass-token' },
 *   jwks: '{"keys":[{"kty":"RSA","kid":"1","n":"AQAB","e":"AQAB"}]}',
 * };
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const cluster = loadManifests(orders, 'cluster.yaml').resources;
 * refusals(planChange({ access, cluster, shape, tokens })); // => []
 * ```
 */
export function refusals(
  { findings }: Pick<Plan, 'findings'>,
  { acceptUnknown = false }: Acceptance = {},
): readonly Finding[] {
  return findings.filter(({ kind }) => kind !== 'note' && !(acceptUnknown && kind === 'not-known'));
}

/**
 * Whether a change may not be applied only because something is not known.
 * @example
 * ```ts
 * import { parseAccess } from '@meshpass/access';
 * import { isUnknown, planChange } from '@meshpass/analysis/plan';
 * import { loadManifests } from '@meshpass/istio';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}]}`, 'access.yaml');
 * const shape = {
 *   ...{ trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local' },
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * const tokens = {
 *   ...{ issuer: 'https://broker.example', audience: 'mesh', header: 'x-meshpass-token' },
 *   jwks: '{"keys":[{"kty":"RSA","kid":"1","n":"AQAB","e":"AQAB"}]}',
 * };
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const cluster = loadManifests(orders, 'cluster.yaml').resources;
 * isUnknown(planChange({ access, cluster, shape, tokens })); // => false
 * isUnknown(planChange({ access, cluster, shape, tokens, unread: 'policies could not be listed' })); // => true
 * ```
 */
export function isUnknown(plan: Pick<Plan, 'findings'>): boolean {
  return refusals(plan).length > 0 && refusals(plan, { acceptUnknown: true }).length === 0;
}

/**
 * Refuses a change that must not be applied.
 * @throws MeshpassError `plan_refused` with every finding that stands against it
 * @example
 * ```ts
 * import { parseAccess } from '@meshpass/access';
 * import { planChange, refuseUnsafe } from '@meshpass/analysis/plan';
 * import { loadManifests } from '@meshpass/istio';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}]}`, 'access.yaml');
 * const shape = {
 *   ...{ trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local' },
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * const tokens = {
 *   ...{ issuer: 'https://broker.example', audience: 'mesh', header: 'x-meshpass-token' },
 *   jwks: '{"keys":[{"kty":"RSA","kid":"1","n":"AQAB","e":"AQAB"}]}',
 * };
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const cluster = loadManifests(orders, 'cluster.yaml').resources;
 * refuseUnsafe(planChange({ access, cluster, shape, tokens }));
 * ```
 */
export function refuseUnsafe(plan: Pick<Plan, 'findings'>, acceptance: Acceptance = {}): void {
  const against = refusals(plan, acceptance);
  if (against.length === 0) return;
  const lines = against.map(({ message, example, because }) => `${message}\n  for example ${example}\n  ${because}`);
  throw new MeshpassError('plan_refused', `The change is refused:\n${lines.join('\n')}`, {
    detail: { findings: against },
  });
}

/** Grants of which anything is there: an export may lack the Namespaces. */
function labelled(present: readonly Resource[]): readonly string[] {
  return [...new Set(present.flatMap(({ metadata }) => metadata.labels?.[GRANT_LABEL] ?? []))];
}

/** Whoever applies denies the certificates of a grant that goes, until the last of them has expired. */
function retired(before: readonly string[], access: Access, { rootNamespace }: MeshShape): readonly Manifest[] {
  const gone = before.filter((name) => !access.grants.some((grant) => grant.name === name));
  if (gone.length === 0) return [];
  const rules = [{ from: [{ source: { namespaces: gone.map(grantNamespace) } }] }];
  return [
    {
      ...{ apiVersion: 'security.istio.io/v1', kind: 'AuthorizationPolicy' },
      metadata: { name: 'meshpass-retired', namespace: rootNamespace, labels: {} },
      spec: { action: 'DENY', rules },
    },
  ];
}

/** Written by compiling an access file; a Namespace only where it was made for a grant. */
function isCompiled(one: Resource): boolean {
  if (!isOurs(one) || !COMPILED_KINDS.includes(one.kind)) return false;
  return one.kind !== 'Namespace' || one.metadata.labels?.[GRANT_LABEL] !== undefined;
}

/** A compiled object as if it had been read, so that whoever is told of it finds the line of the access file. */
function toResource(manifest: Manifest): readonly Resource[] {
  return loadObject(manifest, manifest.metadata.annotations?.[SOURCE_ANNOTATION] ?? 'access file').resources;
}
