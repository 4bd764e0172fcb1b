import { labels } from '@meshpass/istio/members';
import type { Rule } from '../rule.ts';

/** Without a selector, a Gateway is for every proxy of the mesh that is a gateway. */
export const gatewaySelectsAll: Rule = {
  code: 'MP206',
  name: 'gateway-selects-all',
  severity: 'error',
  title: 'A Gateway selects every gateway of the mesh',
  fix: 'Select the intended gateway: `selector: {istio: ingressgateway}`.',
  *check(context) {
    for (const gateway of context.mesh.all('Gateway')) {
      if (Object.keys(labels(gateway.spec.selector)).length > 0) continue;
      yield {
        on: gateway,
        path: ['spec'],
        part: 'key',
        message:
          'without a selector these servers are opened on every gateway of the mesh, the ones meant for inside included.',
      };
    }
  },
};
