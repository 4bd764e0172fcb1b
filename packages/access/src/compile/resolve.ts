/** Resolves an access file against the mesh. Determines which ports are granted and why others are not. */
import { formatSni, grantNamespace } from '@meshpass/identity';
import {
  MAX_ALLOWED_OPERATIONS,
  MAX_OPERATION_LENGTH,
  MAX_SERVICE_ACCOUNTS_PER_SERVICE,
} from '@meshpass/identity/wire';
import { didYouMean, type Mesh, type MeshService, selects } from '@meshpass/istio';
import { distinct } from '@meshpass/istio/members';
import type { Access, Grant, GrantTarget } from '../model.ts';
import { type AccessFileProblem, accessFileError, problemAt } from '../problem.ts';
import { isSelection, selectedNamespaces } from '../schema/selection.ts';
import { describeAllowed } from './describe-allowed.ts';
import { isMeshNamespace, type ResolvedRole, resolveRoles } from './roles.ts';

type MeshPort = MeshService['ports'][number];

export interface ResolvedTarget {
  readonly target: GrantTarget;
  readonly service: MeshService;
  readonly port: MeshPort;
  /** The full host name. */
  readonly host: string;
  /** The SNI that the mesh gateway routes to exactly this port. */
  readonly sni: string;
}

export interface ResolvedGrant {
  readonly grant: Grant;
  /** The namespace of the grant, `meshpass-GRANT`. */
  readonly namespace: string;
  readonly targets: readonly ResolvedTarget[];
  /** The roles that the grant assigns, except for those with powers that the grant does not allow. */
  readonly roles: readonly ResolvedRole[];
}

export interface Resolved {
  /** The grants in file order, with only the targets and roles that can be granted. */
  readonly grants: readonly ResolvedGrant[];
  readonly problems: readonly AccessFileProblem[];
  /**
   * Selected targets that cannot be granted. They do not make the file invalid, because anyone could create such a
   * Service.
   */
  readonly leftOut: readonly AccessFileProblem[];
}

/**
 * The maximum number of ports per grant. It keeps the grant's guard and Gateway manageable for Envoy and for people.
 */
export const MAX_PORTS = 1_000;

/**
 * Resolves all targets of the access file. Problems are returned instead of thrown. If several entries of a grant cover
 * the same port, the first one applies.
 * @example
 * ```ts
 * import { meshOf, parseAccess, resolveAccess } from '@meshpass/access';
 * import { loadManifests } from '@meshpass/istio';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}]}`, 'access.yaml');
 * const shape = {
 *   trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local',
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const mesh = meshOf(loadManifests(orders, 'cluster.yaml').resources, shape);
 * const { grants, problems } = resolveAccess(access, mesh);
 * grants[0]!.targets.map(({ sni }) => sni); // => ['outbound_.80_._.orders.shop.svc.cluster.local']
 * problems; // => []
 * ```
 */
export function resolveAccess(access: Access, mesh: Mesh): Resolved {
  const problems: AccessFileProblem[] = [];
  const leftOut: AccessFileProblem[] = [];
  const grants = access.grants.flatMap((grant): ResolvedGrant[] => {
    const namespace = grantNamespace(grant.name);
    if (isMeshNamespace(namespace, mesh)) {
      problems.push(
        problemAt(grant.place, `namespace ${namespace} belongs to the mesh: choose a different name for the grant`),
      );
      return [];
    }
    if (isServed(namespace, mesh)) {
      problems.push(
        problemAt(grant.place, `namespace ${namespace} already runs services: choose a different name for the grant`),
      );
      // Keep the grant without any targets. Certificates that were issued for it may still be valid, so the guard must
      // continue to deny them.
      return [{ grant, namespace, targets: [], roles: [] }];
    }
    const found = grant.to.flatMap((target) => {
      const isSelecting = selectsServices(target);
      const fits = isSelecting ? selectTargets(target, mesh) : [namedTarget(target, mesh)];
      (isSelecting ? leftOut : problems).push(...fits.filter((fit) => 'message' in fit));
      return fits.filter((fit) => 'sni' in fit);
    });
    const targets = distinct(found, ({ sni }) => sni);
    if (targets.length > MAX_PORTS) {
      const message = `selects ${targets.length} ports, but only the first ${MAX_PORTS} are granted: narrow the selection`;
      leftOut.push(problemAt(grant.place, message));
    }
    const { roles, problems: untrusted } = resolveRoles(grant, mesh);
    problems.push(...untrusted);
    return [{ grant, namespace, targets: targets.slice(0, MAX_PORTS), roles }];
  });
  return { grants, problems, leftOut };
}

/**
 * Checks every target in the access file against the mesh.
 * @throws MeshpassError `access_service_unknown`, `access_port_unknown`, `access_port_undeclared`,
 *   `access_file_invalid`, with all problems, each with its FILE:LINE:COLUMN
 * @example
 * ```ts
 * import { checkMesh, meshOf, parseAccess } from '@meshpass/access';
 * import { loadManifests } from '@meshpass/istio';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}]}`, 'access.yaml');
 * const shape = {
 *   trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local',
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const mesh = meshOf(loadManifests(orders, 'cluster.yaml').resources, shape);
 * checkMesh(access, mesh);
 * ```
 */
export function checkMesh(access: Access, mesh: Mesh): void {
  const { problems } = resolveAccess(access, mesh);
  if (problems.length > 0) throw accessFileError(problems);
}

/**
 * Lists the targets that entries select by pattern or label but that cannot be granted, with the reasons. The compiler
 * leaves them out.
 * @example
 * ```ts
 * import { leftOut, meshOf, parseAccess } from '@meshpass/access';
 * import { loadManifests } from '@meshpass/istio';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}]}`, 'access.yaml');
 * const shape = {
 *   trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local',
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const mesh = meshOf(loadManifests(orders, 'cluster.yaml').resources, shape);
 * leftOut(access, mesh); // => []
 * ```
 */
export function leftOut(access: Access, mesh: Mesh): readonly AccessFileProblem[] {
  return resolveAccess(access, mesh).leftOut;
}

/** A port that can be granted, or the reason why it cannot. */
type Fit = ResolvedTarget | AccessFileProblem;

function selectsServices(target: GrantTarget): boolean {
  return (
    target.host === undefined && (isSelection(target) || target.labels !== undefined || target.service === undefined)
  );
}

/** Finds the port for an entry that names its Service. */
function namedTarget(target: GrantTarget, mesh: Mesh): Fit {
  const { place } = target;
  const named =
    target.host === undefined ? { service: target.service!, namespace: target.namespace! } : split(target, mesh);
  if ('message' in named) return named;
  const name = `${named.service}.${named.namespace}`;
  if (isMeshNamespace(named.namespace, mesh)) {
    // istiod renews any certificate that is presented to it, so access to port 15012 would defeat certificate expiry.
    return problemAt(place, `${name} belongs to the mesh itself and cannot be granted to workspaces`);
  }
  if (named.namespace.startsWith('meshpass-')) {
    // The broker can write to this namespace, and everyone with a grant has a ServiceAccount in the grant's namespace.
    return problemAt(place, `${name} is in a Meshpass namespace, and its services cannot be granted`);
  }
  const service = mesh.services.find((one) => one.name === named.service && one.namespace === named.namespace);
  if (!service) {
    const known = mesh.services.map((other) => `${other.name}.${other.namespace}`);
    const message = `the mesh has no service ${name}${didYouMean(name, known)}`;
    return { code: 'access_service_unknown', place, message };
  }
  const port = findPort(service, target.port);
  if (!port) {
    const names = service.ports.map((other) =>
      typeof target.port === 'number' ? other.port : other.name || other.port,
    );
    const hint = typeof target.port === 'number' ? '' : didYouMean(target.port, names.map(String));
    const message = `${name} has no port ${target.port}: it has ${names.join(', ') || 'none'}${hint}`;
    return { code: 'access_port_unknown', place, message };
  }
  return fitPort(target, service, port, mesh);
}

/** Finds the selected port in every Service that currently matches the entry. */
function selectTargets(target: GrantTarget, mesh: Mesh): readonly Fit[] {
  const namespaces = new Set(selectedNamespaces(target, mesh));
  return mesh.services.flatMap((service) => {
    if (!namespaces.has(service.namespace)) return [];
    if (target.service !== undefined && service.name !== target.service) return [];
    if (target.labels !== undefined && !selects(target.labels, service.labels ?? {})) return [];
    const port = findPort(service, target.port);
    return port ? [fitPort(target, service, port, mesh)] : [];
  });
}

function fitPort(target: GrantTarget, service: MeshService, port: MeshPort, mesh: Mesh): Fit {
  const { place } = target;
  const name = `${service.name}.${service.namespace}`;
  if (port.protocol === 'undeclared') {
    const message = `${name}:${port.port} does not declare a protocol, so the client would choose which rules apply: set "appProtocol" (http, http2, grpc or tcp) on this port of the Service`;
    return { code: 'access_port_undeclared', place, message };
  }
  const http = (['allow', 'deny', 'require'] as const).find((member) => target[member] !== undefined);
  if (port.protocol === 'tcp' && http) {
    const written = http === 'allow' && target.allow?.every(({ grpc }) => grpc) ? 'grpc' : http;
    return problemAt(
      place,
      `${name}:${port.port} is TCP, where the mesh cannot see methods, paths or claims: remove "${written}"`,
    );
  }
  if (port.protocol === 'http' && target.allow?.some(({ grpc }) => grpc)) {
    return problemAt(
      place,
      `${name}:${port.port} speaks HTTP/1.1, but gRPC requires HTTP/2: set "appProtocol: grpc" on this port of the Service, or remove "grpc"`,
    );
  }
  if (Object.keys(service.selector).length === 0) {
    // A policy with an empty selector would apply to the whole namespace.
    return problemAt(place, `${name} has no label selector, so no policy can be bound to its pods`);
  }
  const untold = beyondTelling(target, service);
  if (untold !== undefined) return problemAt(place, `${name} ${untold}`);
  const host = `${service.name}.${service.namespace}.svc.${mesh.clusterDomain}`;
  return { target, service, port, host, sni: formatSni({ host, port: port.port }) };
}

/**
 * Explains why a target exceeds the agents' limits. An agent rejects the whole response if any part of it exceeds them.
 */
function beyondTelling(target: GrantTarget, service: MeshService): string | undefined {
  const accounts = workloadServiceAccounts(service).length;
  if (accounts > MAX_SERVICE_ACCOUNTS_PER_SERVICE)
    return `runs under ${accounts} ServiceAccounts, but an agent accepts at most ${MAX_SERVICE_ACCOUNTS_PER_SERVICE} per service: grant a Service with fewer`;
  const { allow = [] } = describeAllowed(target);
  if (allow.length > MAX_ALLOWED_OPERATIONS)
    return `has ${allow.length} allowed operations, but an agent accepts at most ${MAX_ALLOWED_OPERATIONS}: use patterns, or split the entry into several grants`;
  const longest = Math.max(0, ...allow.map(({ length }) => length));
  if (longest > MAX_OPERATION_LENGTH)
    return `has an operation with ${longest} characters including its claims, but an agent accepts at most ${MAX_OPERATION_LENGTH}: require fewer values`;
  return undefined;
}

/** Lists the ServiceAccounts that a Service's workloads use, in alphabetical order. */
export function workloadServiceAccounts({ workloads }: Pick<MeshService, 'workloads'>): readonly string[] {
  return [...new Set(workloads.map(({ serviceAccount }) => serviceAccount))].sort();
}

function findPort(service: MeshService, wanted: number | string): MeshPort | undefined {
  return service.ports.find(({ port, name }) => (typeof wanted === 'number' ? port === wanted : name === wanted));
}

function split(
  { host = '', place }: GrantTarget,
  mesh: Mesh,
): { readonly service: string; readonly namespace: string } | AccessFileProblem {
  const [service = '', namespace = '', , ...domain] = host.split('.');
  if (domain.join('.') === mesh.clusterDomain) return { service, namespace };
  const message = `the mesh has no host ${host}: hosts in this cluster end in .svc.${mesh.clusterDomain}`;
  return { code: 'access_service_unknown', place, message };
}

/** Whether a namespace contains Services. A grant's namespace must contain nothing but ServiceAccounts. */
function isServed(namespace: string, mesh: Mesh): boolean {
  return mesh.services.some((service) => service.namespace === namespace);
}
