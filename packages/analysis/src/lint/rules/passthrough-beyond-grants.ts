import { serverHost } from '@meshpass/istio';
import { items, texts } from '@meshpass/istio/members';
import type { Rule } from '../rule.ts';

/**
 * AUTO_PASSTHROUGH: the SNI alone decides which service of the mesh is reached, and Istio puts no authorization filter on
 * these listeners, so the hosts are the whole guard.
 */
export const passthroughBeyondGrants: Rule = {
  code: 'MP203',
  name: 'passthrough-beyond-grants',
  severity: 'error',
  title: 'An AUTO_PASSTHROUGH server exposes services that are not granted',
  fix: 'List the granted hosts one by one, by full name, as the compiler of the access file does.',
  *check(context) {
    for (const gateway of context.mesh.all('Gateway')) {
      for (const [server, { hosts, tls }] of items(gateway.spec.servers).entries()) {
        if (tls?.mode !== 'AUTO_PASSTHROUGH') continue;
        for (const [index, written] of texts(hosts).entries()) {
          const { host } = serverHost(written, gateway.metadata.namespace);
          const wild = host.includes('*');
          if (!wild && (!context.access || context.granted.has(host))) continue;
          yield {
            on: gateway,
            path: ['spec', 'servers', server, 'hosts', index],
            message: wild
              ? `${written}: connections to ${host === '*' || host === '*.local' ? 'every service' : `every service of ${host}`} on every port are passed on, and no AuthorizationPolicy applies at such a server. What is left is what each workload demands.`
              : `${host} is granted to nobody, and this server passes connections on to every port of it.`,
          };
        }
      }
    }
  },
};
