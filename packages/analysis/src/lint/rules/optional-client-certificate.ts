import { items } from '@meshpass/istio/members';
import type { Rule } from '../rule.ts';

/** A client certificate that need not be there is no guard. */
export const optionalClientCertificate: Rule = {
  code: 'MP207',
  name: 'optional-client-certificate',
  severity: 'warning',
  title: 'A Gateway requests a client certificate and also serves callers without one',
  fix: 'Use `MUTUAL`, or require another identity behind it.',
  *check(context) {
    for (const gateway of context.mesh.all('Gateway')) {
      for (const [index, { tls, port }] of items(gateway.spec.servers).entries()) {
        if (tls?.mode !== 'OPTIONAL_MUTUAL') continue;
        yield {
          on: gateway,
          path: ['spec', 'servers', index, 'tls', 'mode'],
          message: `OPTIONAL_MUTUAL on port ${typeof port?.number === 'number' ? port.number : '?'} accepts callers without a certificate: only a policy behind it can refuse them.`,
        };
      }
    }
  },
};
