import { items } from '@meshpass/istio/members';
import type { Rule } from '../rule.ts';

const PLAIN = new Set(['HTTP', 'HTTP2', 'GRPC', 'GRPC-WEB', 'HTTP_PROXY']);

/** Plain HTTP from outside: tokens travel in the clear. */
export const gatewayPlainHttp: Rule = {
  code: 'MP202',
  name: 'gateway-plain-http',
  severity: 'warning',
  title: 'A Gateway serves plain HTTP',
  fix: 'Set `tls.httpsRedirect: true` on this server and serve HTTPS beside it.',
  *check(context) {
    for (const gateway of context.mesh.all('Gateway')) {
      if (Object.values(gateway.spec.selector ?? {}).some((value) => String(value).includes('egress'))) continue;
      for (const [index, { port, tls }] of items(gateway.spec.servers).entries()) {
        if (!PLAIN.has(String(port?.protocol).toUpperCase()) || tls?.httpsRedirect === true) continue;
        // TLS in front of it, as `mode` says, makes it HTTPS under another name.
        if (tls?.mode !== undefined && tls.mode !== 'PASSTHROUGH') continue;
        yield {
          on: gateway,
          path: ['spec', 'servers', index, 'port', 'protocol'],
          message: `port ${port?.number ?? '?'} accepts plain HTTP: anyone on the network path can read and change tokens, cookies and paths.`,
        };
      }
    }
  },
};
