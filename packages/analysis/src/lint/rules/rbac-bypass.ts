import { items } from '@meshpass/istio/members';
import { describeObject } from '../describe.ts';
import { roleOf, whyTooMuch } from '../role-reach.ts';
import type { Rule } from '../rule.ts';
import { bindings, grantOf } from './rbac-beyond-grant.ts';

/** A role whose holder can make his own access. */
export const rbacBypass: Rule = {
  code: 'MP602',
  name: 'rbac-bypass',
  severity: 'error',
  title: 'A role of workspaces can change policies, issue tokens or read Secrets',
  fix: 'Use a role without these rights: `view` cannot read Secrets or change anything.',
  *check(context) {
    const said = new Set<string>();
    for (const binding of bindings(context)) {
      const grant = items(binding.subjects)
        .map(grantOf)
        .find((one) => one !== undefined);
      if (grant === undefined) continue;
      const role = roleOf(context.mesh, binding);
      for (const [index, rule] of items(role?.rules).entries()) {
        const why = whyTooMuch(rule);
        const once = `${describeObject(role!)} ${index}`;
        if (!why || said.has(once)) continue;
        said.add(once);
        yield {
          on: role!,
          path: ['rules', index],
          message: `sessions of grant ${grant}, who have this role by ${describeObject(binding)}, ${why}.`,
        };
      }
    }
  },
};
