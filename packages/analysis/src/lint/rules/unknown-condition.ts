import { actionOf, didYouMean } from '@meshpass/istio';
import { conditionsOf, rulesOf } from '../policy-rules.ts';
import type { Rule } from '../rule.ts';

const KEYS = [
  ...['source.ip', 'remote.ip', 'source.namespace', 'source.serviceAccount', 'source.principal', 'source.trustDomain'],
  ...['request.auth.principal', 'request.auth.audiences', 'request.auth.presenter'],
  ...['destination.ip', 'destination.port', 'connection.sni'],
];
const KEYED = ['request.headers', 'request.auth.claims', 'experimental.envoy.filters.'];

/** Istio leaves a rule out whose condition it does not know. Source: pilot/pkg/security/authz/model/model.go. */
export const unknownCondition: Rule = {
  code: 'MP301',
  name: 'unknown-condition',
  severity: 'error',
  title: 'A condition has a key that Istio does not know, so the whole rule is ignored',
  fix: 'Use a key of https://istio.io/latest/docs/reference/config/security/conditions/.',
  *check(context) {
    for (const policy of context.mesh.all('AuthorizationPolicy')) {
      for (const rule of rulesOf(policy)) {
        for (const { value, path } of conditionsOf(rule)) {
          const key = String(value.key ?? '');
          if (KEYS.includes(key)) continue;
          const keyed = KEYED.find((one) => key.startsWith(one));
          if (keyed && /^[^[\]]+\[[^[\]]+\](?:\[[^[\]]+\])*$/.test(key)) continue;
          const effect = actionOf(policy) === 'DENY' ? 'what it should deny is allowed' : 'what it should allow is not';
          const hint = keyed
            ? ` (write ${keyed.replace(/\.$/, '.x')}[NAME])`
            : didYouMean(key, [...KEYS, ...KEYED.slice(0, 2)]);
          yield {
            on: policy,
            path: [...path, 'key'],
            message: `Istio does not know the key ${JSON.stringify(key)}${hint}. It ignores the whole rule: ${effect}.`,
          };
        }
      }
    }
  },
};
