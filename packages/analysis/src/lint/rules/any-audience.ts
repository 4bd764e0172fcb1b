import { items, texts } from '@meshpass/istio/members';
import type { Rule } from '../rule.ts';

/** A token made for somebody else. */
export const anyAudience: Rule = {
  code: 'MP404',
  name: 'any-audience',
  severity: 'warning',
  title: 'Tokens of an issuer are accepted for any audience',
  fix: 'Name the audience of this mesh: `audiences: [meshpass]`.',
  *check(context) {
    for (const policy of context.mesh.all('RequestAuthentication')) {
      for (const [index, rule] of items(policy.spec.jwtRules).entries()) {
        if (texts(rule.audiences).length > 0) continue;
        yield {
          on: policy,
          path: ['spec', 'jwtRules', index],
          message: `every token of ${rule.issuer ?? 'this issuer'} is accepted, whichever application it was issued for: the operator of any such application can replay its users' tokens here.`,
        };
      }
    }
  },
};
