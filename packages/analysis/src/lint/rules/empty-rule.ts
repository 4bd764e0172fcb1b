import { actionOf, type Path } from '@meshpass/istio';
import { items, texts } from '@meshpass/istio/members';
import { rulesOf } from '../policy-rules.ts';
import type { Report, Rule } from '../rule.ts';

/** Empty parts mean "everything" in one place and "nothing" in another. */
export const emptyRule: Rule = {
  code: 'MP303',
  name: 'empty-rule',
  severity: 'error',
  title: 'An empty rule matches everything, or an empty policy matches nothing',
  fix: 'Write the intent: to allow nothing, `spec: {}`; to deny everything, `action: DENY` with `rules: [{}]`.',
  *check(context) {
    for (const policy of context.mesh.all('AuthorizationPolicy')) {
      const action = actionOf(policy);
      const rules = rulesOf(policy);
      const say = (path: Path, message: string): Report => ({ on: policy, path, message });
      if (rules.length === 0 && action === 'DENY') {
        yield say(policy.spec.rules ? ['spec', 'rules'] : ['spec', 'action'], 'a DENY without rules denies nothing.');
      }
      for (const { value, path } of rules) {
        const parts = (['from', 'to', 'when'] as const).filter((part) => value[part] !== undefined);
        const empty = parts.find((part) => items(value[part] as readonly object[]).length === 0);
        if (action === 'ALLOW' && parts.length === 0) {
          yield say(path, 'an empty rule of an ALLOW policy allows every call, by anybody, without an identity too.');
        } else if (empty) {
          yield say(
            [...path, empty],
            `an empty ${empty} takes everything: the rule is as wide as if it were not there.`,
          );
        }
        for (const part of ['from', 'to'] as const) {
          for (const [index, one] of items<{ source?: object; operation?: object }>(value[part]).entries()) {
            const inner = part === 'from' ? one.source : one.operation;
            const lists = Object.values(inner ?? {});
            if (lists.length > 0 && lists.some((list) => texts(list).length > 0)) continue;
            yield say(
              [...path, part, index],
              `an empty ${part === 'from' ? 'source' : 'operation'} is refused by Istio's webhook, and takes everything where that is off.`,
            );
          }
        }
      }
    }
  },
};
