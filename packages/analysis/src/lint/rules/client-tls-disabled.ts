import { fullHost, type Path, serviceName } from '@meshpass/istio';
import { items } from '@meshpass/istio/members';
import type { Rule } from '../rule.ts';

/** Callers told to leave mutual TLS: they come as nobody. */
export const clientTlsDisabled: Rule = {
  code: 'MP504',
  name: 'client-tls-disabled',
  severity: 'warning',
  title: 'A DestinationRule disables mutual TLS to a service of the mesh',
  fix: 'Remove `tls` (Istio then uses mutual TLS automatically), or set `ISTIO_MUTUAL`.',
  *check(context) {
    for (const rule of context.mesh.all('DestinationRule')) {
      const host = fullHost(rule.spec.host ?? '', rule.metadata.namespace, context.mesh.config.clusterDomain);
      const name = serviceName(host, context.mesh.config.clusterDomain);
      const wild = host === '*' || host === '*.local' || host.endsWith(`.${context.mesh.config.clusterDomain}`);
      if ((!name && !wild) || (name?.namespace === 'default' && name.name === 'kubernetes')) continue;
      const policies: [typeof rule.spec.trafficPolicy, Path][] = [
        [rule.spec.trafficPolicy, ['spec', 'trafficPolicy']],
        ...items(rule.spec.subsets).map((one, index): [typeof rule.spec.trafficPolicy, Path] => [
          one.trafficPolicy,
          ['spec', 'subsets', index, 'trafficPolicy'],
        ]),
      ];
      for (const [policy, path] of policies) {
        const settings: [typeof policy, Path][] = [
          [policy, path],
          ...items(policy?.portLevelSettings).map((one, index): [typeof policy, Path] => [
            one,
            [...path, 'portLevelSettings', index],
          ]),
        ];
        for (const [one, at] of settings) {
          const mode = one?.tls?.mode;
          if (mode !== 'DISABLE' && !(mode === 'SIMPLE' && one?.tls?.insecureSkipVerify === true)) continue;
          yield {
            on: rule,
            path: [...at, 'tls', 'mode'],
            severity: context.granted.has(host) ? 'error' : 'warning',
            message: `callers of ${host} send no certificate: its policies see no principal and no namespace, and a STRICT workload refuses the connection.`,
          };
        }
      }
    }
  },
};
