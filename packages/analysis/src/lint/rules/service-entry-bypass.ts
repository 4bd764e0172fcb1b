import {
  coversHost,
  exportToOf,
  fullHost,
  identityOf,
  type MeshConfig,
  type Service,
  type ServiceEntry,
  serviceName,
} from '@meshpass/istio';
import { items, text, texts } from '@meshpass/istio/members';
import type { LintContext } from '../context.ts';
import { itemsOf, textsOf } from '../parts.ts';
import type { Report, Rule } from '../rule.ts';

/**
 * A ServiceEntry assigns the name of a mesh service to another destination, or opens a path to the service around its
 * sidecar.
 */
export const serviceEntryBypass: Rule = {
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

/** Explains how a host captures calls to services of the mesh. */
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

/** Names the callers of an entry that only its own namespace knows. */
function from(entry: ServiceEntry, config: MeshConfig): string {
  const { namespace } = entry.metadata;
  const isOwn = exportToOf(entry, config).every((one) => one === '.' || one === namespace);
  return isOwn ? ` from namespace ${namespace}` : '';
}

/** Whether a wildcard has no effect: the API server rejects the host *, and without ports or addresses no call matches. */
function isInert(host: string, { ports, addresses }: ServiceEntry['spec']): boolean {
  return host === '*' || (items(ports).length === 0 && texts(addresses).length === 0);
}

/** Reports endpoints at the machine's own addresses. */
function* localEndpoints(entry: ServiceEntry): Generator<Report> {
  const endpoints = itemsOf(entry, ['spec', 'endpoints'], entry.spec.endpoints);
  for (const { on, path, value } of endpoints) {
    const { address } = value;
    if (address === undefined || !/^(?:127\.|::1$|169\.254\.169\.254$|localhost$)/.test(address)) continue;
    // Istio's own external authorization next to the workload uses this form.
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

/** Finds the Service whose pods an entry declares external. */
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
