import { actionOf } from '@meshpass/istio';
import { texts } from '@meshpass/istio/members';
import { operationsOf, rulesOf } from '../policy-rules.ts';
import type { Rule } from '../rule.ts';

/** A denied host, which the same server answers under with a port too. */
export const hostPortBypass: Rule = {
  code: 'MP313',
  name: 'host-port-bypass',
  severity: 'warning',
  title: 'A host is denied without its port, and `Host: NAME:PORT` is allowed',
  fix: 'Deny both: `hosts: [example.com, "example.com:*"]`.',
  *check(context) {
    for (const policy of context.mesh.all('AuthorizationPolicy')) {
      const action = actionOf(policy);
      for (const rule of rulesOf(policy)) {
        for (const { value, path } of operationsOf(rule)) {
          const list = action === 'DENY' ? 'hosts' : action === 'ALLOW' ? 'notHosts' : undefined;
          const hosts = list ? texts(value[list]) : [];
          for (const [index, host] of hosts.entries()) {
            if (host.endsWith('*') || /:\d+$/.test(host)) continue;
            if (hosts.some((one) => one === `${host}:*` || one === `${host}*`)) continue;
            yield {
              on: policy,
              path: [...path, list!, index],
              message: `a call with the header "Host: ${host.replace('*', 'x')}:80" does not match ${host} and reaches the same server.`,
            };
          }
        }
      }
    }
  },
};
