import { serverHost } from '@meshpass/istio';
import { items, texts } from '@meshpass/istio/members';
import type { Rule } from '../rule.ts';

const NO_HOST = new Set(['TCP', 'MONGO', 'MYSQL', 'REDIS']);

/** A Gateway that takes every host: what any namespace binds to it is public at once. */
export const gatewayAnyHost: Rule = {
  code: 'MP201',
  name: 'gateway-any-host',
  severity: 'warning',
  title: 'A Gateway serves every host',
  fix: 'List the hosts, each with the namespace that may serve it: `shop/shop.example.com`.',
  *check(context) {
    for (const gateway of context.mesh.all('Gateway')) {
      for (const [server, { hosts, port, tls }] of items(gateway.spec.servers).entries()) {
        // AUTO_PASSTHROUGH has a rule of its own, and TCP has no host.
        if (tls?.mode === 'AUTO_PASSTHROUGH' || NO_HOST.has(String(port?.protocol).toUpperCase())) continue;
        for (const [index, written] of texts(hosts).entries()) {
          const { namespace, host } = serverHost(written, gateway.metadata.namespace);
          if (host !== '*') continue;
          yield {
            on: gateway,
            path: ['spec', 'servers', server, 'hosts', index],
            message: `${written} lets ${namespace === undefined ? 'a VirtualService of any namespace' : `every VirtualService of namespace ${namespace}`} bind any host here: this Gateway does not limit what is public.`,
          };
        }
      }
    }
  },
};
