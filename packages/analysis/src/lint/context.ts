/** Provides the input for lint rules: the mesh, and the access file's effect on it. */

import { type Access, type GrantTarget, isSelection, selectedNamespaces } from '@meshpass/access/compile';
import { grantNamespace } from '@meshpass/identity';
import { findMeshConfig, fullHost, type MeshView, protocolOf, type Resource, selects, viewMesh } from '@meshpass/istio';
import { distinct } from '@meshpass/istio/members';
import type { Exposure } from '../exposure/exposure.ts';
import { meshExposures } from '../exposure/list.ts';
import type { GrantReach } from '../routes/outside-grant.ts';
import { type TestWords, testWords } from './exposure/test-words.ts';
import type { LintOptions } from './model.ts';

export interface LintContext {
  readonly mesh: MeshView;
  readonly access: Access | undefined;
  /** Whether the resources cover the whole mesh. If so, objects that are not among them do not exist. */
  readonly complete: boolean;
  /** The entry points of the cluster, whether or not they are open. */
  readonly exposures: readonly Exposure[];
  /** The state before the change, for comparison. Undefined if there is none. */
  readonly base: LintContext | undefined;
  /** The ports that each grant covers. */
  readonly grantReaches: readonly GrantReach[];
  /** The names of the grants that cover each host. */
  readonly granted: ReadonlyMap<string, readonly string[]>;
  /** The words and labels that indicate a test route. */
  readonly testWords: TestWords;
}

/**
 * Creates the input for the lint rules.
 * @param options the options, whose mesh settings override the `istio` ConfigMap and Istio's defaults
 */
export function lintContext(resources: readonly Resource[], { base, ...options }: LintOptions): LintContext {
  const found = findMeshConfig(resources);
  const settings = {
    rootNamespace: options.rootNamespace ?? found.rootNamespace,
    clusterDomain: options.clusterDomain ?? found.clusterDomain,
    pathNormalization: options.pathNormalization ?? found.pathNormalization,
  };
  const mesh = viewMesh(resources, { ...found, ...settings });
  const reaches = grantReaches(options.access, mesh);
  let exposures: readonly Exposure[] | undefined;
  return {
    mesh,
    access: options.access,
    complete: options.complete ?? false,
    get exposures() {
      exposures ??= meshExposures(mesh);
      return exposures;
    },
    base: base && lintContext(base, { ...options, ...settings }),
    grantReaches: reaches,
    granted: grantsByHost(reaches),
    testWords: testWords(options.settings?.testWords, options.settings?.testLabels),
  };
}

/** Returns the ports that each grant covers. The number of a named port is missing if its Service was not read. */
function grantReaches(access: Access | undefined, mesh: MeshView): readonly GrantReach[] {
  return (access?.grants ?? []).map(({ name, place, to }) => {
    const ports = to.flatMap((target) => hostsOf(target, mesh).map((host) => portOf(target, host, mesh)));
    return {
      grant: name,
      namespace: grantNamespace(name),
      place,
      ports: distinct(ports, ({ host, port }) => `${host}:${port}`),
    };
  });
}

/** Returns the names of the grants that cover each host. */
function grantsByHost(reaches: readonly GrantReach[]): ReadonlyMap<string, readonly string[]> {
  const granted = new Map<string, string[]>();
  for (const { grant, ports } of reaches) {
    for (const host of new Set(ports.map((port) => port.host)))
      granted.set(host, [...(granted.get(host) ?? []), grant]);
  }
  return granted;
}

function hostsOf(target: GrantTarget, mesh: MeshView): readonly string[] {
  const { host, service, namespace } = target;
  if (host !== undefined) return [host];
  const { rootNamespace, clusterDomain } = mesh.config;
  const named = !isSelection(target) && target.labels === undefined;
  if (named && service !== undefined && namespace !== undefined) return [fullHost(service, namespace, clusterDomain)];
  const services = mesh.all('Service').map(({ metadata }) => metadata);
  const names = new Set([
    ...mesh.all('Namespace').map(({ metadata }) => metadata.name),
    ...services.map((one) => one.namespace),
  ]);
  const selected = selectedNamespaces(target, {
    rootNamespace,
    gateway: { namespace: 'meshpass-system' },
    namespaces: [...names].map((name) => ({ name, labels: mesh.namespaceLabels(name) ?? {} })),
  });
  return services
    .filter((one) => selected.includes(one.namespace))
    .filter(({ name }) => service === undefined || name === service)
    .filter(({ labels }) => target.labels === undefined || selects(target.labels, labels ?? {}))
    .map((one) => fullHost(one.name, one.namespace, clusterDomain));
}

function portOf({ port: wanted }: GrantTarget, host: string, mesh: MeshView): GrantReach['ports'][number] {
  const ports = mesh.serviceAt(host)?.spec.ports ?? [];
  const declared = ports.find(({ port, name }) => (typeof wanted === 'number' ? port : name) === wanted);
  const isTcp = declared && protocolOf(declared.port, declared.appProtocol ?? declared.name ?? '') === 'tcp';
  return {
    host,
    port: typeof wanted === 'number' ? wanted : declared?.port,
    protocol: isTcp ? 'tcp' : 'http',
  };
}
