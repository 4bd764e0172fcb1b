import { items, text, texts } from '@meshpass/istio/members';
import { policiesAtGateway } from '../exposure/requires-identity.ts';
import type { Rule } from '../rule.ts';
import { shareOfPaths } from '../text-match.ts';

/** A gateway's policy looks at the path that was asked for; the workload gets another. */
export const rewriteBypass: Rule = {
  code: 'MP111',
  name: 'rewrite-bypass',
  severity: 'error',
  title: "A rewrite produces a path that the gateway's policy denies",
  fix: 'Deny the path at the workload, which sees the rewritten path, or deny the path before the rewrite too.',
  *check(context) {
    for (const exposure of context.exposures) {
      const to = text(exposure.route?.rewrite?.uri);
      if (to === undefined) continue;
      for (const { gateway } of exposure.gateways) {
        if (!gateway) continue;
        for (const policy of policiesAtGateway(context.mesh, gateway)) {
          if (policy.spec.action !== 'DENY') continue;
          const paths = items(policy.spec.rules)
            .filter(
              (rule) =>
                items(rule.from).length === 0 ||
                items(rule.from).some(({ source }) => texts(source?.notRequestPrincipals).length > 0),
            )
            .flatMap((rule) => items(rule.to).flatMap(({ operation }) => texts(operation?.paths)));
          const reached = paths.find((path) =>
            exposure.matches.some(({ uri }) => {
              const becomes = uri?.exact !== undefined ? { exact: to } : { prefix: to };
              return (
                shareOfPaths(path, becomes) !== 'none' && shareOfPaths(path, uri) === 'none' && uri?.regex === undefined
              );
            }),
          );
          if (reached === undefined) continue;
          yield {
            on: exposure.on,
            path: [...exposure.path, 'rewrite', 'uri'],
            message: `Gateway ${gateway.metadata.namespace}/${gateway.metadata.name} denies ${reached} (${policy.metadata.name}) by the requested path; ${exposure.matches.map(({ uri }) => uri?.prefix ?? uri?.exact).join(', ')} becomes ${to} after that check, so ${reached} is reachable.`,
          };
        }
      }
    }
  },
};
