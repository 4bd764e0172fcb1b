/**
 * Decides whether the guard and the rules of a single grant allow a call. To do so, it compiles the grant and runs the
 * evaluator that `meshpass policy can-i` uses. Without an access file, the grant is built from the broker's answer about
 * the session.
 */
import type { Access, ClaimValues, Grant, GrantTarget, Operation } from '@meshpass/access';
import type { ExplainResponse } from '@meshpass/agent/explain/answer';
import { applyAccess, type CanI, canI } from '@meshpass/analysis/evaluate';
import { formatSni, parseSpiffe } from '@meshpass/identity';
import type { ReachableService } from '@meshpass/identity/wire';
import { loadObject, type Resource, viewMesh } from '@meshpass/istio';
import { PLACEHOLDER_JWKS } from '../input/policy-input.ts';
import type { WantedCall } from './call.ts';

/** The caller, as described by the agent for its session. */
type ExplainCaller = Pick<ExplainResponse, 'claims' | 'principals' | 'trustDomain' | 'tokenHeader' | 'session'>;

/** The destination of the call. */
export type CallDestination = Pick<ReachableService, 'host' | 'port' | 'protocol' | 'spiffe_ids'>;

/** Extracts the cluster domain from a host name of the form `NAME.NAMESPACE.svc.DOMAIN`. */
export function clusterDomainOf(host: string): string {
  return host.split('.').slice(3).join('.') || 'cluster.local';
}

/** Returns the settings with which the grants of a session are compiled, as far as a workspace knows them. */
export function sessionSettings({ trustDomain, claims, tokenHeader }: ExplainCaller, host: string) {
  const { iss, aud } = claims;
  const [audience] = Array.isArray(aud) ? (aud as unknown[]) : [aud];
  return {
    shape: {
      trustDomain,
      clusterDomain: clusterDomainOf(host),
      rootNamespace: 'istio-system',
      gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15_443 },
    },
    tokens: {
      issuer: typeof iss === 'string' ? iss : 'https://broker.invalid',
      audience: typeof audience === 'string' ? audience : 'meshpass',
      header: tokenHeader,
      jwks: PLACEHOLDER_JWKS,
    },
  };
}

/**
 * Evaluates a call by a holder of `grant` in `access`. Other policies in the mesh are not considered.
 * @throws MeshpassError `access_*` if the grant cannot be compiled
 */
export function evaluateForCaller(
  access: Access,
  grant: string,
  to: CallDestination,
  call: WantedCall,
  asking: ExplainCaller,
): CanI {
  const { trustDomain, claims, principals, session } = asking;
  const only = { ...access, grants: access.grants.flatMap((one) => (one.name === grant ? [narrowed(one, to)] : [])) };
  const { shape, tokens } = sessionSettings(asking, to.host);
  const { resources } = applyAccess(only, sessionMesh([to]), shape, tokens);
  const [service, namespace] = to.host.split('.');
  const principal = principals[grant]?.replace(/^spiffe:\/\//, '') ?? `${trustDomain}/ns/meshpass-${grant}/sa/holder`;
  const token =
    typeof claims.iss === 'string'
      ? claims
      : { iss: tokens.issuer, sub: session.subject, aud: tokens.audience, grants: [grant] };
  const { method, path, headers } = call;
  const http = call.protocol === 'tcp' || to.protocol === 'tcp' ? undefined : { method, path, headers };
  const target = `${service}.${namespace}:${to.port}`;
  return canI(viewMesh(resources), { principal, claims: token }, target, http, { sni: formatSni(to) });
}

/**
 * Reduces a grant to a single port, because its other entries may refer to services that are unknown in this workspace.
 */
function narrowed(grant: Grant, to: CallDestination): Grant {
  const targets = findTargets(grant, to).map((one) => ({ ...one, port: to.port }));
  return { ...grant, to: targets, kubernetesRoles: [] };
}

/** Returns the entries for this service and port. If there is more than one, the first one decides. */
export function findTargets({ to }: Pick<Grant, 'to'>, { host, port }: Pick<CallDestination, 'host' | 'port'>) {
  const named = to.filter((one) => isOfService(one, { host }));
  const exact = named.filter((one) => one.port === port);
  // Only the mesh knows the number of a named port. If there is a single entry for the service, it must be for this
  // port.
  return exact.length > 0 || named.length !== 1 || typeof named[0]!.port === 'number' ? exact : named;
}

/** Whether an entry is for a service by its name, rather than by labels or a pattern. */
export function isOfService(one: GrantTarget, { host }: Pick<CallDestination, 'host'>): boolean {
  const [service, namespace] = host.split('.');
  return one.labels === undefined && (one.host === host || (one.service === service && one.namespace === namespace));
}

/** Removes required claims from all grants, because Envoy chooses the grant for a call only by its method and path. */
export function withoutClaims(access: Access): Access {
  const bare = (target: GrantTarget): GrantTarget => {
    const { require: _, allow, ...rest } = target;
    return { ...rest, ...(allow && { allow: allow.map(({ require: __, ...operation }) => operation) }) };
  };
  return { ...access, grants: access.grants.map((grant) => ({ ...grant, to: grant.to.map(bare) })) };
}

// Converts the broker's answer about a session into an access file and mesh objects. This way, calls from a workspace
// are decided by the same evaluator that the platform team uses, and the rules are not implemented twice.

/** The file name to use in source locations if no access file is given. */
const SESSION_FILE = "the broker's answer for this session";
const PLACE = { file: SESSION_FILE, line: 1, column: 1 };

/** Thrown if an operation has an unknown format. Callers report the result as unknown. */
export class UnknownOperationError extends Error {}

/**
 * Builds an access file from the services that the session can reach.
 * @throws UnknownOperationError
 */
export function sessionAccess(services: readonly ReachableService[]): Access {
  const grants = [...Map.groupBy(services, ({ grant }) => grant)];
  return {
    file: SESSION_FILE,
    trust: { codespaces: { organization: 'this-session' }, issuers: [], audiences: [] },
    grants: grants.map(([name, own]) => ({
      name,
      place: PLACE,
      who: [{ place: PLACE, user: 'this-session' }],
      kubernetesRoles: [],
      ttl: 600,
      session: 28_800,
      to: own.map(targetOf),
    })),
  };
}

function targetOf({ host, port, allow }: ReachableService): GrantTarget {
  const [service, namespace] = host.split('.') as [string, string];
  const denied = (allow ?? []).flatMap((text) => (text.startsWith(NOT) ? [operationOf(text.slice(NOT.length))] : []));
  const allowed = (allow ?? []).flatMap((text) => (text.startsWith(NOT) ? [] : [operationOf(text)]));
  return {
    place: PLACE,
    service,
    namespace,
    port,
    ...(allow && { allow: allowed }),
    ...(denied.length > 0 && { deny: denied }),
  };
}

const NOT = 'but not ';

/**
 * Parses an operation in the format of describeAllowed() in @meshpass/access, such as
 * `POST /refunds (with department finance or audit)`.
 */
function operationOf(text: string): Operation {
  const [, method, path, demands = ''] = /^(\*|[A-Z-]+) (\/\S*)((?: \(with [^()]+\))*)$/.exec(text) ?? [];
  if (method === undefined || path === undefined) throw new UnknownOperationError(text);
  const require: Record<string, string[]> = {};
  for (const [, demand] of demands.matchAll(/ \(with ([^()]+)\)/g)) {
    const [name, ...values] = demand!.split(' ');
    // If a claim is required twice, a value from each set has to match. This is not supported, because it cannot be
    // expressed by a single set and is rare.
    if (require[name!]) throw new UnknownOperationError(text);
    require[name!] = values.join(' ').split(' or ');
  }
  return { method, path, ...(Object.keys(require).length > 0 && { require: require as ClaimValues }) };
}

/**
 * Builds a Service for each host, and a Pod for each ServiceAccount behind it.
 * @param services the services of the session. Duplicates of the same host and port are ignored
 */
export function sessionMesh(
  services: readonly Pick<ReachableService, 'host' | 'port' | 'protocol' | 'spiffe_ids'>[],
): Resource[] {
  return [...Map.groupBy(services, ({ host }) => host)].flatMap(([host, own]) => {
    const [name, namespace] = host.split('.') as [string, string];
    const labels = { 'meshpass-explain': name };
    const ports = [...new Map(own.map((one) => [one.port, one])).values()];
    const accounts = new Set(
      own.flatMap((one) => one.spiffe_ids.map((id) => parseSpiffe(id)?.serviceAccount ?? 'default')),
    );
    const service = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace },
      spec: {
        selector: labels,
        ports: ports.map(({ port, protocol }) => ({ port, name: `p${port}`, appProtocol: protocol })),
      },
    };
    const pods = [...accounts].map((serviceAccountName, index) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: `${name}-${index}`, namespace, labels },
      spec: {
        serviceAccountName,
        containers: [
          { name: 'app', image: 'app' },
          { name: 'istio-proxy', image: 'proxyv2' },
        ],
      },
    }));
    return [service, ...pods].flatMap((one) => loadObject(one, SESSION_FILE).resources);
  });
}
