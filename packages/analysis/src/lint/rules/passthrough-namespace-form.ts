import { items, texts } from '@meshpass/istio/members';
import type { Rule } from '../rule.ts';

/** `ns/host` in AUTO_PASSTHROUGH looks like a restriction and is none. */
export const passthroughNamespaceForm: Rule = {
  code: 'MP204',
  name: 'passthrough-namespace-form',
  severity: 'error',
  title: 'An AUTO_PASSTHROUGH server names hosts as `namespace/host`, and Istio ignores the namespace',
  fix: 'Write full host names: `orders.shop.svc.cluster.local`.',
  *check(context) {
    for (const gateway of context.mesh.all('Gateway')) {
      for (const [server, { hosts, tls }] of items(gateway.spec.servers).entries()) {
        if (tls?.mode !== 'AUTO_PASSTHROUGH') continue;
        for (const [index, written] of texts(hosts).entries()) {
          const slash = written.indexOf('/');
          if (slash < 0) continue;
          yield {
            on: gateway,
            path: ['spec', 'servers', server, 'hosts', index],
            message: `${written.slice(0, slash)}/ has no effect here: connections to ${written.slice(slash + 1)} of every namespace are forwarded.`,
          };
        }
      }
    }
  },
};
