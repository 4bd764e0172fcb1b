import { items } from '@meshpass/istio/members';
import type { Rule } from '../rule.ts';

/** A client certificate that need not be there is no guard. */
export const optionalClientCertificate: Rule = {
  code: 'MP207',
  name: 'optional-client-certificate',
  severity: 'warning',
  title: 'A Gateway asks for a client certificate and serves who has none',
  fix: 'Use `MUTUAL`, or demand another identity behind it.',
  *check(context) {
    for (const gateway of context.mesh.all('Gateway')) {
      for (const [index, { tls, port }] of items(gateway.spec.servers).entries()) {
        if (tls?.mode !== 'OPTIONAL_MUTUAL') continue;
        yield {
          on: gateway,
          path: ['spec', 'servers', index, 'tls', 'mode'],
          message: `OPTIONAL_MUTUAL on port ${port?.number} lets callers without a certificate in: only a policy behind it can refuse them.`,
        };
      }
    }
  },
};
