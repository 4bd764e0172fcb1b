import { coversHost, fullHost, serviceName } from '@meshpass/istio';
import { items, text, texts } from '@meshpass/istio/members';
import type { Rule } from '../rule.ts';

/** A ServiceEntry that gives the name of a service of the mesh to something else, or a way to it without its sidecar. */
export const serviceEntryBypass: Rule = {
  code: 'MP501',
  name: 'service-entry-bypass',
  severity: 'error',
  title: 'A ServiceEntry claims the name of a service of the mesh, or bypasses its policies',
  fix: 'List only hosts outside the mesh, one by one, and export the entry to its own namespace (`exportTo: ["."]`).',
  *check(context) {
    let hosts: readonly string[] | undefined;
    const services = () => {
      hosts ??= context.mesh
        .all('Service')
        .map(({ metadata }) => fullHost(metadata.name, metadata.namespace, context.mesh.config.clusterDomain));
      return hosts;
    };
    for (const entry of context.mesh.all('ServiceEntry')) {
      const { namespace } = entry.metadata;
      const endpoints = items(entry.spec.endpoints);
      for (const [index, host] of texts(entry.spec.hosts).entries()) {
        const path = ['spec', 'hosts', index];
        const owner = serviceName(host, context.mesh.config.clusterDomain);
        if (
          host === '*' ||
          host === '*.local' ||
          host === `*.${context.mesh.config.clusterDomain}` ||
          host === `*.svc.${context.mesh.config.clusterDomain}`
        ) {
          yield {
            on: entry,
            path,
            message: `${host} matches every service of the mesh: calls to them may use this entry, where the policies of the service do not apply.`,
          };
        } else if (owner && (owner.namespace !== namespace || endpoints.length > 0)) {
          const to = endpoints.map((one) => text(one.address)).filter((one) => one !== undefined);
          yield {
            on: entry,
            path,
            message: `${host} is the name of a service of namespace ${owner.namespace}${texts(entry.spec.exportTo).length === 0 || texts(entry.spec.exportTo).includes('*') ? ', for every sidecar of the mesh' : ''}: calls to it go ${to.length > 0 ? `to ${to.slice(0, 3).join(', ')}` : 'where this entry says'}.`,
          };
        } else if (host.startsWith('*') && services().some((one) => coversHost(host, one))) {
          yield {
            on: entry,
            path,
            message: `${host} covers services of the mesh, such as ${services().find((one) => coversHost(host, one))}.`,
          };
        }
      }
      for (const [index, { address }] of endpoints.entries()) {
        if (address === undefined || !/^(?:127\.|::1$|169\.254\.169\.254$|localhost$)/.test(address)) continue;
        // Istio's own external authorization beside the workload is written so.
        if (address.startsWith('127.') && entry.spec.resolution === 'STATIC' && endpoints.length === 1) continue;
        yield {
          on: entry,
          path: ['spec', 'endpoints', index, 'address'],
          message: address.startsWith('169')
            ? 'this is the metadata address of the cloud: it hands out credentials of the machine.'
            : `${address} is whichever pod calls: it reaches ports there that no policy guards.`,
        };
      }
      const selector = entry.spec.workloadSelector?.labels;
      const owned =
        entry.spec.location === 'MESH_EXTERNAL' && texts(entry.spec.hosts).length > 0 && selector
          ? context.mesh.within('Service', namespace).find((one) => sameSelector(selector, one.spec.selector))
          : undefined;
      if (owned) {
        yield {
          on: entry,
          path: ['spec', 'location'],
          message: `the pods of Service ${owned.metadata.namespace}/${owned.metadata.name} are declared MESH_EXTERNAL: callers send no certificate, and rules on principals match no caller.`,
        };
      }
    }
  },
};

function sameSelector(
  one: Readonly<Record<string, string>> | undefined,
  other: Readonly<Record<string, string>> | undefined,
): boolean {
  const names = Object.keys(one ?? {});
  return names.length > 0 && names.every((name) => other?.[name] === one![name]);
}
