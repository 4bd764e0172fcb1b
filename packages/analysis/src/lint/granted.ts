/** Hosts of Services that the access file grants, as far as the manifests show what its entries select. */

import { type Access, type GrantTarget, isSelection, selectedNamespaces } from '@meshpass/access/compile';
import { fullHost, type Mesh, type Service } from '@meshpass/istio';
import { hasLabels, labels } from '@meshpass/istio/members';

export type Granted = ReadonlyMap<string, { readonly grants: readonly string[]; readonly ports: ReadonlySet<number> }>;

export interface GrantedOptions {
  readonly services: readonly Service[];
  /** Labels of the namespaces that are known. */
  readonly namespaces: ReadonlyMap<string, Readonly<Record<string, string>>>;
  readonly rootNamespace: string;
  readonly clusterDomain: string;
}

export function grantedHosts(access: Access | undefined, options: GrantedOptions): Granted {
  const granted = new Map<string, { grants: string[]; ports: Set<number> }>();
  for (const grant of access?.grants ?? []) {
    for (const target of grant.to) {
      for (const host of hostsOf(target, options)) {
        const known = granted.get(host) ?? { grants: [], ports: new Set<number>() };
        if (!known.grants.includes(grant.name)) known.grants.push(grant.name);
        const port = typeof target.port === 'number' ? target.port : portNamed(target.port, host, options);
        if (port !== undefined) known.ports.add(port);
        granted.set(host, known);
      }
    }
  }
  return granted;
}

function hostsOf(target: GrantTarget, options: GrantedOptions): readonly string[] {
  const { host, service, namespace } = target;
  if (host !== undefined) return [host];
  const named = !isSelection(target) && target.labels === undefined;
  if (named && service !== undefined && namespace !== undefined) {
    return [fullHost(service, namespace, options.clusterDomain)];
  }
  const names = new Set([...options.namespaces.keys(), ...options.services.map(({ metadata }) => metadata.namespace)]);
  const mesh: Mesh = {
    ...{ trustDomain: '', rootNamespace: options.rootNamespace, clusterDomain: options.clusterDomain },
    ...{ gateway: { namespace: 'meshpass-system', labels: {}, port: 0 }, services: [], foreignPolicies: [] },
    namespaces: [...names].map((name) => ({ name, labels: options.namespaces.get(name) ?? {} })),
  };
  const selected = new Set(selectedNamespaces(target, mesh));
  return options.services
    .filter(({ metadata }) => selected.has(metadata.namespace))
    .filter(({ metadata }) => service === undefined || metadata.name === service)
    .filter(({ metadata }) => target.labels === undefined || hasLabels(target.labels, labels(metadata.labels)))
    .map(({ metadata }) => fullHost(metadata.name, metadata.namespace, options.clusterDomain));
}

function portNamed(wanted: string, host: string, { services, clusterDomain }: GrantedOptions): number | undefined {
  const service = services.find(({ metadata }) => fullHost(metadata.name, metadata.namespace, clusterDomain) === host);
  return service?.spec.ports?.find(({ name }) => name === wanted)?.port;
}
