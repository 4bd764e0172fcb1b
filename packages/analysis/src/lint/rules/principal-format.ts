import { actionOf } from '@meshpass/istio';
import { entriesOf, rulesOf, sourcesOf } from '../policy-rules.ts';
import type { Rule } from '../rule.ts';

/** Peers written in a form that no peer has. */
export const principalFormat: Rule = {
  code: 'MP311',
  name: 'principal-format',
  severity: 'error',
  title: 'A principal or namespace is written in a format that never matches',
  fix: 'Write `TRUST_DOMAIN/ns/NAMESPACE/sa/NAME` for principals, and the bare name for namespaces.',
  *check(context) {
    for (const policy of context.mesh.all('AuthorizationPolicy')) {
      for (const rule of rulesOf(policy)) {
        for (const source of sourcesOf(rule)) {
          for (const { list, text, path } of entriesOf(source)) {
            const why = whyNever(list.replace(/^not/, '').toLowerCase(), text);
            if (!why) continue;
            const passes = (actionOf(policy) === 'DENY') !== list.startsWith('not');
            yield {
              on: policy,
              path,
              message: `${JSON.stringify(text)} never matches a ${list === 'namespaces' ? 'namespace' : 'peer'}: ${why}. ${passes ? 'It denies no caller' : 'It matches no caller'}.`,
            };
          }
        }
      }
    }
  },
};

function whyNever(list: string, value: string): string | undefined {
  if (list === 'principals') {
    if (value.startsWith('spiffe://')) return 'Istio compares without spiffe://';
    if (value.includes('*')) return undefined;
    if (value.startsWith('system:serviceaccount:')) return 'that is the name of a ServiceAccount in Kubernetes';
    if (!/^[^/]+\/ns\/[^/]+\/sa\/[^/]+$/.test(value)) return 'it is not TRUST_DOMAIN/ns/NAMESPACE/sa/NAME';
  }
  if (list === 'namespaces' && value.includes('/')) return 'a namespace has no /';
  if (list === 'serviceaccounts' && (value.startsWith('system:') || value.includes('*')))
    return 'it is NAMESPACE/NAME, without wildcards';
  return undefined;
}
