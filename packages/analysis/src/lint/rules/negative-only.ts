import { actionOf } from '@meshpass/istio';
import { texts } from '@meshpass/istio/members';
import { conditionsOf, operationsOf, rulesOf, sourcesOf } from '../policy-rules.ts';
import type { Rule } from '../rule.ts';

/** ALLOW everything but: whoever is not thought of is allowed, who has no identity at all among them. */
export const negativeOnly: Rule = {
  code: 'MP304',
  name: 'negative-only',
  severity: 'warning',
  title: 'An ALLOW rule has only negative conditions',
  fix: 'List the intended callers (`principals`, `requestPrincipals`), and move the exceptions to a DENY policy.',
  *check(context) {
    for (const policy of context.mesh.all('AuthorizationPolicy')) {
      if (actionOf(policy) !== 'ALLOW') continue;
      for (const rule of rulesOf(policy)) {
        const sources = sourcesOf(rule);
        const positive =
          conditionsOf(rule).some(({ value }) => texts(value.values).length > 0) ||
          (sources.length === 0 && operationsOf(rule).some(({ value }) => hasPositive(value)));
        if (positive) continue;
        const negative = [...sources, ...(sources.length === 0 ? operationsOf(rule) : [])].find(
          ({ value }) => Object.keys(value).length > 0 && !hasPositive(value),
        );
        if (!negative) continue;
        const lists = Object.keys(negative.value);
        yield {
          on: policy,
          path: [...negative.path, lists[0]!],
          part: 'key',
          message: `${lists.join(' and ')} alone allow everyone else: callers without a certificate or token do not have the attribute and are allowed too.`,
        };
      }
    }
  },
};

function hasPositive(part: object): boolean {
  return Object.entries(part).some(([name, values]) => !/^not[A-Z]/.test(name) && texts(values).length > 0);
}
