/** The access file laid over the mesh: every granted port found, or said why it cannot be granted. */
import { formatSni, grantNamespace, MAX_ALLOWED, MAX_ALLOWED_TEXT, MAX_PEERS } from '@meshpass/identity';
import { didYouMean, type Mesh, type MeshService, type Place, selects } from '@meshpass/istio';
import type { Access, Grant, GrantTarget } from '../model.ts';
import type { AccessFileProblem } from '../problem.ts';
import { isSelection, selectedNamespaces } from '../schema/selection.ts';
import { describeAllowed } from './describe-allowed.ts';
import { isMeshOwn, type ResolvedRole, resolveRoles } from './roles/resolve-roles.ts';

type MeshPort = MeshService['ports'][number];

export interface ResolvedTarget {
  readonly target: GrantTarget;
  readonly service: MeshService;
  readonly port: MeshPort;
  /** Full host name. */
  readonly host: string;
  /** By which the mesh gateway routes to exactly this port. */
  readonly sni: string;
}

export interface ResolvedGrant {
  readonly grant: Grant;
  /** `meshpass-GRANT`. */
  readonly namespace: string;
  readonly targets: readonly ResolvedTarget[];
  /** Only those that are given: one that the grant does not allow is not among them. */
  readonly roles: readonly ResolvedRole[];
}

export interface Resolved {
  /** In the order of the file, with only what can be granted. */
  readonly grants: readonly ResolvedGrant[];
  readonly problems: readonly AccessFileProblem[];
  /** What an entry selects and cannot be granted: no reason to refuse the file, since anybody may make such a Service. */
  readonly leftOut: readonly AccessFileProblem[];
}

/** More ports would make guard and Gateway of a grant larger than Envoys and people can bear. */
export const MAX_PORTS = 1_000;

/**
 * Looks up everything that the file grants. Pure; problems are collected, not thrown. Where several entries of a grant
 * mean the same port, the first one decides.
 * @example
 * ```ts
 * import { meshOf, parseAccess, resolveAccess } from '@meshpass/access';
 * import { loadManifests } from '@meshpass/istio';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}]}`, 'access.yaml');
 * const shape = {
 *   ...{ trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local' },
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
    if (namespace === mesh.rootNamespace || namespace === mesh.gateway.namespace) {
      problems.push(
        invalid(grant.place, `namespace ${namespace} is the mesh's own: choose another name for the grant`),
      );
      return [];
    }
    if (isServed(namespace, mesh)) {
      problems.push(invalid(grant.place, `namespace ${namespace} runs services: choose another name for the grant`));
      // The grant itself stays, with nothing: its certificates may still live, and the guard must go on denying them.
      return [{ grant, namespace, targets: [], roles: [] }];
    }
    const found = grant.to.map((target) => resolveTarget(target, mesh));
    problems.push(...found.flatMap((one) => one.problems));
    leftOut.push(...found.flatMap((one) => one.leftOut));
    const distinct = new Map<string, ResolvedTarget>();
    for (const target of found.flatMap((one) => one.targets)) {
      if (!distinct.has(target.sni)) distinct.set(target.sni, target);
    }
    const targets = [...distinct.values()];
    if (targets.length > MAX_PORTS) {
      const message = `selects ${targets.length} ports: only the first ${MAX_PORTS} are granted, so narrow it down`;
      leftOut.push(invalid(grant.place, message));
    }
    const { roles, problems: untrusted } = resolveRoles(grant, mesh);
    problems.push(...untrusted);
    return [{ grant, namespace, targets: targets.slice(0, MAX_PORTS), roles }];
  });
  return { grants, problems, leftOut };
}

interface Found {
  readonly targets: readonly ResolvedTarget[];
  readonly problems: readonly AccessFileProblem[];
  readonly leftOut: readonly AccessFileProblem[];
}

function resolveTarget(target: GrantTarget, mesh: Mesh): Found {
  const { place } = target;
  if (
    target.host === undefined &&
    (isSelection(target) || target.labels !== undefined || target.service === undefined)
  ) {
    return selectTargets(target, mesh);
  }
  const named =
    target.host === undefined ? { service: target.service!, namespace: target.namespace! } : split(target, mesh);
  if ('message' in named) return { targets: [], problems: [named], leftOut: [] };
  const name = `${named.service}.${named.namespace}`;
  const refuse = (problem: AccessFileProblem): Found => ({ targets: [], problems: [problem], leftOut: [] });
  if (isMeshOwn(named.namespace, mesh)) {
    // istiod renews certificates for whoever shows one: port 15012 in a workspace would undo every expiry.
    return refuse(invalid(place, `${name} belongs to the mesh itself, which no workspace may reach`));
  }
  if (named.namespace.startsWith('meshpass-')) {
    // The broker may write there, and whoever holds a grant has a ServiceAccount there.
    return refuse(invalid(place, `${name} is in a namespace of Meshpass, where nothing is granted`));
  }
  const service = mesh.services.find((one) => one.name === named.service && one.namespace === named.namespace);
  if (!service) {
    const known = mesh.services.map((other) => `${other.name}.${other.namespace}`);
    return refuse({
      code: 'access_service_unknown',
      place,
      message: `the mesh has no service ${name}${didYouMean(name, known)}`,
    });
  }
  const port = findPort(service, target.port);
  if (!port) {
    const names = service.ports.map((other) =>
      typeof target.port === 'number' ? other.port : other.name || other.port,
    );
    const hint = typeof target.port === 'number' ? '' : didYouMean(target.port, names.map(String));
    return refuse({
      code: 'access_port_unknown',
      place,
      message: `${name} has no port ${target.port}: it has ${names.join(', ') || 'none'}${hint}`,
    });
  }
  const fit = fitPort(target, service, port, mesh);
  return 'sni' in fit ? { targets: [fit], problems: [], leftOut: [] } : refuse(fit);
}

/** The Services that are selected now and have such a port. */
function selectTargets(target: GrantTarget, mesh: Mesh): Found {
  const namespaces = new Set(selectedNamespaces(target, mesh));
  const fits = mesh.services.flatMap((service) => {
    if (!namespaces.has(service.namespace)) return [];
    if (target.service !== undefined && service.name !== target.service) return [];
    if (target.labels !== undefined && !selects(target.labels, service.labels ?? {})) return [];
    const port = findPort(service, target.port);
    return port ? [fitPort(target, service, port, mesh)] : [];
  });
  return {
    targets: fits.flatMap((fit) => ('sni' in fit ? [fit] : [])),
    problems: [],
    leftOut: fits.flatMap((fit) => ('sni' in fit ? [] : [fit])),
  };
}

/** A port as it is granted, or why it cannot be. */
function fitPort(
  target: GrantTarget,
  service: MeshService,
  port: MeshPort,
  mesh: Mesh,
): ResolvedTarget | AccessFileProblem {
  const { place } = target;
  const name = `${service.name}.${service.namespace}`;
  if (port.protocol === 'undeclared') {
    return {
      code: 'access_port_undeclared',
      place,
      message: `${name}:${port.port} declares no protocol, so the client would choose which rules apply: set "appProtocol" (http, http2, grpc or tcp) on this port of the Service`,
    };
  }
  const http = (['allow', 'deny', 'require'] as const).find((member) => target[member] !== undefined);
  if (port.protocol === 'tcp' && http) {
    const written = http === 'allow' && target.allow?.every(({ grpc }) => grpc) ? 'grpc' : http;
    return invalid(
      place,
      `${name}:${port.port} is TCP, where nobody sees methods, paths and claims: leave "${written}" out`,
    );
  }
  if (port.protocol === 'http' && target.allow?.some(({ grpc }) => grpc)) {
    return invalid(
      place,
      `${name}:${port.port} speaks HTTP/1.1, and gRPC needs HTTP/2: set "appProtocol: grpc" on this port of the Service, or leave "grpc" out`,
    );
  }
  if (Object.keys(service.selector).length === 0) {
    // A policy with an empty selector would govern the whole namespace.
    return invalid(place, `${name} selects no pods by label, so no policy can be bound to them`);
  }
  const untold = beyondTelling(target, service);
  if (untold !== undefined) return invalid(place, `${name} ${untold}`);
  const host = `${service.name}.${service.namespace}.svc.${mesh.clusterDomain}`;
  return { target, service, port, host, sni: formatSni({ host, port: port.port }) };
}

/** An agent refuses a whole answer that has more than these bounds; so such a target is refused before it can be in one. */
function beyondTelling(target: GrantTarget, service: MeshService): string | undefined {
  const accounts = accountsOf(service).length;
  if (accounts > MAX_PEERS)
    return `runs under ${accounts} ServiceAccounts, and an agent accepts ${MAX_PEERS} for a service at most: grant a Service that selects fewer`;
  const { allow = [] } = describeAllowed(target);
  if (allow.length > MAX_ALLOWED)
    return `is granted by ${allow.length} operations, of which an agent is told ${MAX_ALLOWED} at most: use patterns, or split the entry into several grants`;
  const longest = Math.max(0, ...allow.map(({ length }) => length));
  if (longest > MAX_ALLOWED_TEXT)
    return `has an operation that takes ${longest} characters with its claims, and ${MAX_ALLOWED_TEXT} are told at most: require fewer values`;
  return undefined;
}

/** ServiceAccounts of the workloads behind a Service, sorted. */
export function accountsOf({ workloads }: Pick<MeshService, 'workloads'>): readonly string[] {
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
  const message = `the mesh has no host ${host}: hosts of this cluster end in .svc.${mesh.clusterDomain}`;
  return { code: 'access_service_unknown', place, message };
}

/** A grant's namespace holds ServiceAccounts and nothing else. */
function isServed(namespace: string, mesh: Mesh): boolean {
  return mesh.services.some((service) => service.namespace === namespace);
}

function invalid(place: Place, message: string): AccessFileProblem {
  return { code: 'access_file_invalid', place, message };
}
