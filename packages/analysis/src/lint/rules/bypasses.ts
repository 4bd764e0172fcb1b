/**
 * Defines rules about objects that let calls bypass policies: ServiceEntries, EnvoyFilters, and Pods without a sidecar.
 */
import {
  authorizationPolicies,
  coversHost,
  type EnvoyFilter,
  exportToOf,
  fullHost,
  identityOf,
  isCaptured,
  type MeshConfig,
  type Path,
  type PodWorkload,
  proxyOfPod,
  type Service,
  type ServiceEntry,
  serviceName,
} from '@meshpass/istio';
import { items, record, text, texts } from '@meshpass/istio/members';
import { describeObject } from '../../exposure/describe.ts';
import { indexEnforcedPolicies } from '../../exposure/enforcer.ts';
import { isGatewayPod } from '../../exposure/entries/gateway-service.ts';
import { filterTypes } from '../../exposure/patches.ts';
import type { LintContext } from '../context.ts';
import { itemsOf, textsOf } from '../parts.ts';
import type { Report, Rule } from '../rule.ts';

/**
 * Reports ServiceEntries that assign the name of a mesh service to another destination, or that open a path to the
 * service that bypasses its sidecar.
 */
const serviceEntryBypass: Rule = {
  code: 'MP501',
  name: 'service-entry-bypass',
  severity: 'error',
  title: 'A ServiceEntry claims the name of a service of the mesh, or bypasses its policies',
  fix: 'List only hosts outside the mesh, individually, and export the entry to its own namespace (`exportTo: ["."]`).',
  *check(context) {
    const { clusterDomain } = context.mesh.config;
    const services = context.mesh
      .all('Service')
      .map(({ metadata }) => fullHost(metadata.name, metadata.namespace, clusterDomain));
    for (const entry of context.mesh.all('ServiceEntry')) {
      for (const { on, path, value: host } of textsOf(entry, ['spec', 'hosts'], entry.spec.hosts)) {
        const message = whyClaims(entry, host, context.mesh.config, services);
        if (message) yield { on, path, message };
      }
      yield* localEndpoints(entry);
      const owned = externalService(context, entry);
      if (!owned) continue;
      yield {
        on: entry,
        path: ['spec', 'location'],
        message: `the pods of ${identityOf(owned)} are declared MESH_EXTERNAL: callers send no certificate, and rules on principals match no caller.`,
      };
    }
  },
};

/** Explains how one of the entry's hosts captures calls to services in the mesh. */
function whyClaims(
  entry: ServiceEntry,
  host: string,
  config: MeshConfig,
  services: readonly string[],
): string | undefined {
  const { spec, metadata } = entry;
  const { clusterDomain } = config;
  if (host.startsWith('*') && isInert(host, spec)) return undefined;
  if (['*.local', `*.${clusterDomain}`, `*.svc.${clusterDomain}`].includes(host))
    return `${host} matches every service of the mesh: calls to them${from(entry, config)} may use this entry, where the policies of the service do not apply.`;
  const endpoints = items(spec.endpoints);
  const owner = serviceName(host, clusterDomain)?.namespace;
  if (owner !== undefined && (owner !== metadata.namespace || endpoints.length > 0)) {
    const everywhere = exportToOf(entry, config).includes('*') ? ', for every sidecar of the mesh' : '';
    const to = endpoints.map((one) => text(one.address)).filter((one) => one !== undefined);
    return `${host} is the name of a service in namespace ${owner}${everywhere}: calls to it go ${to.length > 0 ? `to ${to.slice(0, 3).join(', ')}` : 'where this entry sends them'}.`;
  }
  const covered = host.startsWith('*') ? services.find((one) => coversHost(host, one)) : undefined;
  return covered && `${host} covers services of the mesh, such as ${covered}.`;
}

/**
 * Describes the callers of an entry that is only visible in its own namespace. Returns an empty string for other
 * entries.
 */
function from(entry: ServiceEntry, config: MeshConfig): string {
  const { namespace } = entry.metadata;
  const isOwn = exportToOf(entry, config).every((one) => one === '.' || one === namespace);
  return isOwn ? ` from namespace ${namespace}` : '';
}

/**
 * Checks whether a wildcard has no effect. The API server rejects the host `*`, and an entry with neither ports nor
 * addresses does not match any call.
 */
function isInert(host: string, { ports, addresses }: ServiceEntry['spec']): boolean {
  return host === '*' || (items(ports).length === 0 && texts(addresses).length === 0);
}

/** Reports endpoints whose address is local to the machine. */
function* localEndpoints(entry: ServiceEntry): Generator<Report> {
  const endpoints = itemsOf(entry, ['spec', 'endpoints'], entry.spec.endpoints);
  for (const { on, path, value } of endpoints) {
    const { address } = value;
    if (address === undefined || !/^(?:127\.|::1$|169\.254\.169\.254$|localhost$)/.test(address)) continue;
    // Istio's own external authorizer has this form if it runs next to the workload.
    if (address.startsWith('127.') && entry.spec.resolution === 'STATIC' && endpoints.length === 1) continue;
    yield {
      on,
      path: [...path, 'address'],
      message: address.startsWith('169')
        ? "this is the cloud metadata address, which serves the machine's credentials."
        : `${address} is the calling Pod itself: callers reach ports there that no policy guards.`,
    };
  }
}

/** Finds the Service whose Pods a ServiceEntry declares to be external. */
function externalService({ mesh }: LintContext, { spec, metadata }: ServiceEntry): Service | undefined {
  const selector = spec.workloadSelector?.labels;
  if (spec.location !== 'MESH_EXTERNAL' || texts(spec.hosts).length === 0 || !selector) return undefined;
  return mesh.within('Service', metadata.namespace).find((one) => sameSelector(selector, one.spec.selector));
}

function sameSelector(
  one: Readonly<Record<string, string>>,
  other: Readonly<Record<string, string>> | undefined,
): boolean {
  const names = Object.keys(one);
  return names.length > 0 && names.every((name) => other?.[name] === one[name]);
}

const GUARDS = [
  'envoy.filters.http.rbac',
  'envoy.filters.network.rbac',
  'envoy.filters.http.jwt_authn',
  'envoy.filters.http.ext_authz',
  'istio_authn',
  'istio.authn',
];
/** Describes the effect of each operation when it is applied to a policy filter. */
const ON_GUARD = new Map<string, (guard: string) => string>([
  ['REMOVE', (guard) => `REMOVE removes ${guard}, so its policies are not enforced`],
  ['REPLACE', (guard) => `REPLACE removes ${guard}, so its policies are not enforced`],
  ['MERGE', (guard) => `MERGE changes ${guard}, which then no longer enforces the policies as written`],
]);
/** The parts that bypass all policy filters when they are added. */
const UNGUARDED = new Map([
  ['LISTENER', 'listener'],
  ['FILTER_CHAIN', 'filter chain'],
]);
const SEEN_BY_POLICIES =
  /"x-meshpass-|"x-forwarded-client-cert"|forward_client_cert_details|use_remote_address|xff_num_trusted_hops|normalize_path/;
/**
 * Matches filters that can answer or change calls. Rate limit and telemetry filters are not included, because they
 * cannot allow a call.
 */
const ANSWERS =
  /(?:^envoy|\bfilters?\.http)\.(?:lua|wasm|golang|ext_proc|header_mutation|router|direct_response|dynamic_forward_proxy|cors)(?:\.|$)/;

type ConfigPatch = NonNullable<EnvoyFilter['spec']['configPatches']>[number];

/**
 * Reports EnvoyFilters that remove or weaken the filters that enforce policies, or that add filters ahead of them.
 * Istio does not check such changes.
 */
const envoyFilterBypass: Rule = {
  code: 'MP502',
  name: 'envoy-filter-bypass',
  severity: 'error',
  title: 'An EnvoyFilter removes or weakens the filters that enforce policy, or is inserted before them',
  fix: "Insert after `envoy.filters.http.rbac`, give the EnvoyFilter a workloadSelector, and use Istio's own resources where they exist.",
  *check(context) {
    // Gateway listeners that expose the same destination are already reported by MP703.
    const exposed = new Set(
      context.exposures
        .filter(({ on }) => on.kind === 'EnvoyFilter')
        .map(({ on, path }) => `${identityOf(on)} ${path.at(-1)} applyTo`),
    );
    for (const filter of context.mesh.all('EnvoyFilter')) {
      const where = proxiesOf(filter, context.mesh.config.rootNamespace);
      for (const [index, patch] of items(filter.spec.configPatches).entries()) {
        const [path, effect] = weakens(patch) ?? [];
        if (!path || exposed.has(`${identityOf(filter)} ${index} ${path.join()}`)) continue;
        yield {
          on: filter,
          path: ['spec', 'configPatches', index, ...path],
          part: path.at(-1) === 'value' ? 'key' : 'value',
          message: `${effect} on ${where}.`,
        };
      }
    }
  },
};

function proxiesOf({ spec, metadata }: EnvoyFilter, rootNamespace: string): string {
  const labelled = Object.keys(record(spec.workloadSelector?.labels)).length > 0;
  if (labelled || items(spec.targetRefs).length > 0) return 'these workloads';
  return metadata.namespace === rootNamespace
    ? 'every proxy of the mesh'
    : `every proxy of namespace ${metadata.namespace}`;
}

/** Returns the field in a patch that weakens the policy filters, and its effect. Returns undefined if there is none. */
function weakens({ applyTo, match, patch }: ConfigPatch): readonly [Path, string] | undefined {
  const operation = text(patch?.operation) ?? '';
  const value = JSON.stringify(patch?.value ?? {});
  const matched = JSON.stringify(match ?? {});
  const guard = GUARDS.find((one) => matched.includes(`"${one}"`));
  const onGuard = guard && ON_GUARD.get(operation);
  if (onGuard) return [['patch', 'operation'], onGuard(guard)];
  if (/"disabled":true/.test(value) && GUARDS.some((one) => value.includes(one))) {
    return [['patch', 'value'], 'a route disables the policy filter for itself'];
  }
  const early = applyTo === 'HTTP_FILTER' && goesFirst(operation, guard, matched, match);
  if (early && filterTypes(patch?.value).some((one) => ANSWERS.test(one))) {
    const name = text(record(patch?.value).name) ?? 'this filter';
    return [
      ['patch', 'operation'],
      `${name} precedes the policy filters, so it can answer and change calls before the caller is authenticated`,
    ];
  }
  const added = operation === 'ADD' ? UNGUARDED.get(applyTo ?? '') : undefined;
  if (added) return [['applyTo'], `a ${added} added by an EnvoyFilter has none of Istio's policy filters`];
  return SEEN_BY_POLICIES.test(value)
    ? [['patch', 'value'], 'this changes the identity, address or path that the policies see']
    : undefined;
}

/**
 * Checks whether a patch inserts a filter ahead of the policy filters: at the start, before one of them, or before the
 * first filter of a listener.
 */
function goesFirst(operation: string, guard: string | undefined, matched: string, match: unknown): boolean {
  if (operation !== 'INSERT_BEFORE') return operation === 'INSERT_FIRST';
  // Outbound listeners have no policy filters, and a filter that is inserted before the router still runs after them.
  return guard !== undefined || (text(record(match).context) !== 'SIDECAR_OUTBOUND' && !matched.includes('subFilter'));
}

const NO_INBOUND = 'traffic.sidecar.istio.io/excludeInboundPorts';
const INBOUND = 'traffic.sidecar.istio.io/includeInboundPorts';
const INJECT = 'sidecar.istio.io/inject';

/** Reports workloads that are covered by policies but whose sidecars do not capture all of their ports. */
const sidecarBypass: Rule = {
  code: 'MP503',
  name: 'sidecar-bypass',
  severity: 'error',
  title: 'A workload under policy accepts calls that bypass its sidecar',
  fix: 'Remove the annotation; exclude only ports that serve probes.',
  *check(context) {
    for (const workload of context.mesh.pods) {
      const guarded = whyGuarded(context, workload);
      if (!guarded) continue;
      const on = workload.object;
      const why = whyUninjected(context, workload);
      if (why) {
        const message = `${describeObject(on)} has no sidecar: ${why}. No policy applies to it, and ${guarded}.`;
        yield { on, path: placeOf(workload), message };
      }
      const around = [...indexEnforcedPolicies(context.mesh).workloads.portsOf(workload).values()]
        .filter(({ port, reachedAs }) => reachedAs.length > 0 && !isCaptured(workload, port))
        .map(({ port }) => port);
      if (around.length === 0) continue;
      const message = `port ${around.join(', ')} bypasses the sidecar, so no policy applies, and ${guarded}.`;
      yield { on, path: exclusionOf(workload, around), message };
    }
  },
};

function whyGuarded({ mesh, granted }: LintContext, workload: PodWorkload): string | undefined {
  const { clusterDomain } = mesh.config;
  const host = mesh
    .servicesBefore(workload)
    .map(({ metadata }) => fullHost(metadata.name, metadata.namespace, clusterDomain))
    .find((one) => granted.has(one));
  if (host) return `${host} is granted`;
  const [policy] = authorizationPolicies(mesh, workload);
  return policy && `AuthorizationPolicy ${policy.metadata.name} selects it`;
}

/**
 * Explains why a workload has no sidecar. Gateways are proxies themselves, and Pods in ambient mode are protected by a
 * ztunnel.
 */
function whyUninjected({ mesh }: LintContext, workload: PodWorkload): string | undefined {
  if (isGatewayPod(workload)) return undefined;
  const found = proxyOfPod(mesh, workload);
  return found.proxy === 'none' || found.proxy === 'changed sidecar' ? found.reason : undefined;
}

/** Returns the path of the annotation that excludes the ports, or of the Pod if there is no such annotation. */
function exclusionOf({ annotations, metadataPath, podPath }: PodWorkload, ports: readonly number[]): Path {
  const listed = words(annotations[NO_INBOUND]).some((port) => ports.includes(Number(port)));
  if (!listed && annotations[INBOUND] === undefined) return podPath;
  return [...metadataPath, 'annotations', listed ? NO_INBOUND : INBOUND];
}

/** Returns the path of the setting that disables the sidecar, or of the metadata if there is no such setting. */
function placeOf({ metadataPath, podPath, labels, annotations, pod }: PodWorkload): Path {
  if (pod.hostNetwork === true) return [...podPath, 'hostNetwork'];
  if (labels[INJECT] === 'false') return [...metadataPath, 'labels', INJECT];
  return labels[INJECT] === undefined && annotations[INJECT] === 'false'
    ? [...metadataPath, 'annotations', INJECT]
    : metadataPath;
}

function words(annotation: string | undefined): readonly string[] {
  return (annotation ?? '').split(',').map((word) => word.trim());
}

export const BYPASS_RULES: readonly Rule[] = [serviceEntryBypass, envoyFilterBypass, sidecarBypass];
