import { items, texts } from '@meshpass/istio/members';
import { describeGateway } from '../describe.ts';
import { gatewayUses } from '../exposure/exposure.ts';
import type { Rule } from '../rule.ts';

/** A VirtualService that answers for every host of a gateway, those of others included. */
export const anyHostRoute: Rule = {
  code: 'MP103',
  name: 'any-host-route',
  severity: 'warning',
  title: 'A VirtualService matches every host of a gateway or of the mesh',
  fix: 'List the intended hosts.',
  *check(context) {
    const gateways = new Map(
      context.mesh.all('Gateway').map((one) => [`${one.metadata.namespace}/${one.metadata.name}`, one]),
    );
    for (const route of context.mesh.all('VirtualService')) {
      const index = texts(route.spec.hosts).indexOf('*');
      // TCP has no host: there, * is all that can be written.
      if (index < 0 || (items(route.spec.http).length === 0 && items(route.spec.tls).length === 0)) continue;
      const bound = texts(route.spec.gateways);
      const inMesh = bound.length === 0 || bound.includes('mesh');
      const uses = gatewayUses(route, ['*'], gateways);
      if (inMesh) {
        yield {
          on: route,
          path: ['spec', 'hosts', index],
          severity: 'error',
          message: `the host * without a gateway captures the calls of every sidecar to every service and sends them to the destination of this route.`,
        };
      } else if (uses.length > 0) {
        yield {
          on: route,
          path: ['spec', 'hosts', index],
          message: `the host * on ${uses.map(describeGateway).join(' and ')} answers for every name that resolves to it, including names of other teams and names that do not exist yet.`,
        };
      }
    }
  },
};
