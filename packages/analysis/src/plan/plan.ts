/**
 * Plans a change to the access file: the objects that it writes, how it affects access, and whether it may be applied.
 * A plan is only valid for a single state of the cluster, which is identified by its hash.
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
  settingsOf,
  sourceOf,
} from '@meshpass/access/compile';
import { grantNamespace, MeshpassError, sha256Hex } from '@meshpass/identity';
import { describeUnplaced, loadObject, type Resource, withCreationTimes } from '@meshpass/istio';
import { canonicalJson } from '../canonical-json.ts';
import { type AccessChange, accessChanges } from './access-changes.ts';
import { analysisContext } from './context.ts';
import type { Finding } from './finding.ts';
import { findViolations } from './prove.ts';
import { findReachChanges, type ReachChange } from './reach-changes.ts';
import { type ResourceChange, resourceChanges } from './resource-changes.ts';
import { routeNotes } from './route-notes.ts';
import { demoteExistingFindings } from './standing.ts';
import { isRevocation, stateOf } from './state.ts';
import { unreadClusterFinding } from './unknown.ts';
import { determineVisibility, findInvisibleServices } from './visible.ts';

export interface PlanInput {
  readonly access: Access;
  /** The access file that is currently in force, if it is known. */
  readonly inForce?: Access | undefined;
  /**
   * All known objects in the cluster: Services, workloads, policies, and the objects that Meshpass wrote previously.
   */
  readonly cluster: readonly Resource[];
  readonly shape: MeshShape;
  readonly trustDomainAliases?: readonly string[];
  readonly tokens: IdentityTokens;
  /** The reason why some policies may not have been read. If set, the result is unknown. */
  readonly unread?: string | undefined;
}

export interface Plan {
  /**
   * A SHA-256 hash, in hex, of the new access file, the file in force that it replaces, and the state of the cluster.
   */
  readonly id: string;
  /** A SHA-256 hash of the state of the cluster. */
  readonly state: string;
  readonly manifests: readonly Manifest[];
  readonly resources: readonly ResourceChange[];
  /** The calls that the holders of each grant gain or lose. */
  readonly reach: readonly ReachChange[];
  /** Everything that the access file grants or revokes. Undefined if the file in force is unknown. */
  readonly changes?: readonly AccessChange[];
  readonly findings: readonly Finding[];
  /** The namespaces whose Pods are assumed to have a sidecar because they were not read. */
  readonly assumed: readonly string[];
  /** A warning about objects without a namespace, which are assumed to be in `default`. */
  readonly unplaced?: string;
}

const COMPILED_KINDS: readonly string[] = [
  ...['Namespace', 'RoleBinding', 'RequestAuthentication', 'AuthorizationPolicy', 'Sidecar', 'Gateway'],
];

/**
 * Plans a change to the access file, based on a single state of the cluster.
 * @throws MeshpassError `access_service_unknown` and other codes of `compile`; `policy_too_large`
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
 *   trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local',
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * const tokens = {
 *   issuer: 'https://broker.example', audience: 'mesh', header: 'x-meshpass-token',
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
    ...withCreationTimes(
      [...manifests, ...retired(before, access, shape)].flatMap(
        (one) => loadObject(one, sourceOf(access, one)).resources,
      ),
      cluster,
    ),
  ];
  const holders = [...new Set([...access.grants.map(({ name }) => name), ...before])].sort();
  const visibility = determineVisibility(cluster, shape);
  const context = analysisContext({
    before: visibility.read(cluster),
    after: visibility.read(after),
    isUnseen: visibility.isUnseen,
    grants,
    mesh,
    settings,
    tokens,
    holders,
    unread: input.unread,
  });
  const findings = [
    ...(input.unread === undefined ? [] : [unreadClusterFinding(input.unread)]),
    ...findInvisibleServices(context.ports, visibility),
    ...findViolations(context),
    ...routeNotes(cluster, grants, shape),
  ];
  const unplaced = describeUnplaced(cluster);
  const state = stateOf(cluster);
  return {
    state,
    id: sha256Hex(canonicalJson([access, input.inForce ?? null, state])),
    manifests,
    resources: resourceChanges(present, manifests, (manifest) => sourceOf(access, manifest)),
    reach: findReachChanges(context, mesh.clusterDomain, labelled(present)),
    ...(input.inForce && { changes: accessChanges(input.inForce, access) }),
    findings: demoteExistingFindings(
      findings,
      input,
      (inForce) => planChange({ ...input, access: inForce, inForce: undefined }).findings,
    ),
    assumed: context.assumed,
    ...(unplaced !== undefined && { unplaced }),
  };
}

export interface Acceptance {
  /** Whether an operator accepts that some of the results are unknown. */
  readonly acceptUnknown?: boolean;
}

/**
 * Lists the findings that prevent a change from being applied.
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
 *   trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local',
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * const tokens = {
 *   issuer: 'https://broker.example', audience: 'mesh', header: 'x-meshpass-token',
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
 * Whether a change is prevented only by findings whose result is unknown.
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
 *   trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local',
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * const tokens = {
 *   issuer: 'https://broker.example', audience: 'mesh', header: 'x-meshpass-token',
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
 * Throws if a change must not be applied.
 * @throws MeshpassError `plan_refused` with all findings that prevent the change
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
 *   trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local',
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * const tokens = {
 *   issuer: 'https://broker.example', audience: 'mesh', header: 'x-meshpass-token',
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

/**
 * Lists the grants that have at least one object in the cluster. The Namespaces may be missing if the objects were
 * exported.
 */
function labelled(present: readonly Resource[]): readonly string[] {
  return [...new Set(present.flatMap(({ metadata }) => metadata.labels?.[GRANT_LABEL] ?? []))];
}

/**
 * Returns the DENY policy that the broker applies to the certificates of removed grants until all of them have expired.
 */
function retired(before: readonly string[], access: Access, { rootNamespace }: MeshShape): readonly Manifest[] {
  const gone = before.filter((name) => !access.grants.some((grant) => grant.name === name));
  if (gone.length === 0) return [];
  const rules = [{ from: [{ source: { namespaces: gone.map(grantNamespace) } }] }];
  return [
    {
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'meshpass-retired', namespace: rootNamespace, labels: {} },
      spec: { action: 'DENY', rules },
    },
  ];
}

/** Whether an object was compiled from an access file. Namespaces only count if they belong to a grant. */
function isCompiled(one: Resource): boolean {
  if (!isOurs(one) || !COMPILED_KINDS.includes(one.kind)) return false;
  return one.kind !== 'Namespace' || one.metadata.labels?.[GRANT_LABEL] !== undefined;
}
