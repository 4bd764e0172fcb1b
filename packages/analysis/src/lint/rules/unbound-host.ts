import { coversHost, fullHost, serverHost, serviceName } from '@meshpass/istio';
import { items, texts } from '@meshpass/istio/members';
import type { Rule } from '../rule.ts';

/** A VirtualService for a public host that forgot its gateway: what it says does not hold there. */
export const unboundHost: Rule = {
  code: 'MP104',
  name: 'unbound-host',
  severity: 'warning',
  title: 'A VirtualService names a host of a gateway without being bound to the gateway',
  fix: 'Write `gateways: [NAMESPACE/NAME]`; add `mesh` only if the route is for sidecars too.',
  *check(context) {
    const served = context.mesh.all('Gateway').flatMap((gateway) =>
      items(gateway.spec.servers).flatMap((server) =>
        texts(server.hosts)
          .map((written) => serverHost(written, gateway.metadata.namespace))
          .filter(({ host }) => host !== '*' && !host.endsWith('.local'))
          .map(({ host, namespace }) => ({
            host,
            namespace,
            name: `${gateway.metadata.namespace}/${gateway.metadata.name}`,
          })),
      ),
    );
    if (served.length === 0) return;
    for (const route of context.mesh.all('VirtualService')) {
      if (texts(route.spec.gateways).length > 0) continue;
      for (const [index, host] of texts(route.spec.hosts).entries()) {
        if (
          host === '*' ||
          serviceName(
            fullHost(host, route.metadata.namespace, context.mesh.config.clusterDomain),
            context.mesh.config.clusterDomain,
          )
        )
          continue;
        const at = served.find(
          (one) =>
            (one.namespace === undefined || one.namespace === route.metadata.namespace) && coversHost(one.host, host),
        );
        if (!at) continue;
        yield {
          on: route,
          path: ['spec', 'hosts', index],
          message: `${host} is served by Gateway ${at.name}, and this VirtualService names no gateway, so it applies to sidecars only: its matches have no effect at the gateway.`,
        };
      }
    }
  },
};
