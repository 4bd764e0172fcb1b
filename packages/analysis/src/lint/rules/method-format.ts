import { actionOf } from '@meshpass/istio';
import { entriesOf, operationsOf, rulesOf } from '../policy-rules.ts';
import type { Rule } from '../rule.ts';

/** Methods are compared in their case. */
export const methodFormat: Rule = {
  code: 'MP312',
  name: 'method-format',
  severity: 'error',
  title: 'A method is not in upper case and never matches',
  fix: 'Write `GET`.',
  *check(context) {
    for (const policy of context.mesh.all('AuthorizationPolicy')) {
      for (const rule of rulesOf(policy)) {
        for (const operation of operationsOf(rule)) {
          for (const { list, text, path } of entriesOf(operation)) {
            if (!/^(?:not)?methods$/i.test(list) || text === text.toUpperCase()) continue;
            const effect = actionOf(policy) === 'DENY' && list === 'methods' ? 'is not denied' : 'is not meant by it';
            yield {
              on: policy,
              path,
              message: `${JSON.stringify(text)} is compared case-sensitively: ${text.toUpperCase()} ${effect}.`,
            };
          }
        }
      }
    }
  },
};
