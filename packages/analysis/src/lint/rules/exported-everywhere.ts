import { fullHost, serviceName } from '@meshpass/istio';
import { items, texts } from '@meshpass/istio/members';
import type { Rule } from '../rule.ts';

/** Routing for a host of another namespace, seen by every sidecar of the mesh. */
export const exportedEverywhere: Rule = {
  code: 'MP107',
  name: 'exported-everywhere',
  severity: 'warning',
  title: 'A VirtualService reroutes the calls of every sidecar to a service of another namespace',
  fix: 'Write `exportTo: ["."]` so that it applies to its own namespace only, or move it to the namespace of the service.',
  *check(context) {
    for (const route of context.mesh.all('VirtualService')) {
      const bound = texts(route.spec.gateways);
      if (bound.length > 0 && !bound.includes('mesh')) continue;
      const exported = texts(route.spec.exportTo);
      if (exported.length > 0 && !exported.includes('*')) continue;
      for (const [index, written] of texts(route.spec.hosts).entries()) {
        const { namespace } = route.metadata;
        const host = fullHost(written, namespace, context.mesh.config.clusterDomain);
        const owner = serviceName(host, context.mesh.config.clusterDomain);
        const wildcard = written.startsWith('*.') && written.endsWith(`.${context.mesh.config.clusterDomain}`);
        if (!wildcard && (!owner || owner.namespace === namespace)) continue;
        const elsewhere = [...items(route.spec.http), ...items(route.spec.tcp), ...items(route.spec.tls)]
          .flatMap((one) => items(one.route))
          .map((one) => fullHost(String(one.destination?.host ?? ''), namespace, context.mesh.config.clusterDomain))
          .find((to) => to !== host);
        yield {
          on: route,
          path: ['spec', 'hosts', index],
          severity: elsewhere === undefined ? 'warning' : 'error',
          message: `every sidecar of the mesh applies this route to its calls to ${host}, which belongs to ${owner ? `namespace ${owner.namespace}` : 'others'}${elsewhere === undefined ? '' : `: they are sent to ${elsewhere}`}${exported.length === 0 ? '. Without exportTo a VirtualService is exported everywhere' : ''}.`,
        };
      }
    }
  },
};
