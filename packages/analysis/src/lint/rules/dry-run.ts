import { actionOf, DRY_RUN, isDryRun } from '@meshpass/istio';
import type { Rule } from '../rule.ts';

/** A policy that only logs. */
export const dryRun: Rule = {
  code: 'MP315',
  name: 'dry-run',
  severity: 'note',
  title: 'A policy is in dry run: it is logged and not enforced',
  fix: 'Remove the annotation `istio.io/dry-run` once the logs show the expected decisions.',
  *check(context) {
    for (const policy of context.mesh.all('AuthorizationPolicy')) {
      if (!isDryRun(policy)) continue;
      yield {
        on: policy,
        path: ['metadata', 'annotations', DRY_RUN],
        part: 'key',
        message: `this ${actionOf(policy)} policy has no effect on requests.`,
      };
    }
  },
};
