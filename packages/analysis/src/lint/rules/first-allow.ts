import {
  type AuthorizationPolicy,
  actionOf,
  authorizationPolicies,
  isDryRun,
  isForSidecars,
  type PodWorkload,
  selectorOf,
  type WorkloadPort,
} from '@meshpass/istio';
import { items, listed, texts } from '@meshpass/istio/members';
import type { LintContext } from '../context.ts';
import { describeObject } from '../describe.ts';
import { enforcedIn } from '../enforced.ts';
import { operationsOf, rulesOf } from '../policy-rules.ts';
import type { Rule } from '../rule.ts';

/** The first ALLOW on a workload turns its default from open to closed. */
export const firstAllow: Rule = {
  code: 'MP305',
  name: 'first-allow',
  severity: 'warning',
  title: 'The first ALLOW on a workload closes everything that it does not list',
  fix: 'Allow the other ports too, or use a DENY for what must be refused; where closing is intended, state it with an allow-nothing policy (`spec: {}`) of the namespace.',
  *check(context) {
    for (const policy of context.mesh.all('AuthorizationPolicy')) {
      if (!closes(policy) || !isForSidecars(policy)) continue;
      const selector = selectorOf(policy) ?? {};
      const { namespace } = policy.metadata;
      if (namespace === context.mesh.config.rootNamespace && Object.keys(selector).length === 0) {
        if (items(policy.spec.rules).length === 0) continue;
        yield {
          on: policy,
          path: ['spec'],
          part: 'key',
          message:
            'an ALLOW in the root namespace, without a selector, closes every workload of the mesh to all that it does not name.',
        };
        continue;
      }
      const named = portsNamed(policy);
      if (!named) continue;
      for (const workload of Object.keys(selector).length === 0 ? [] : context.mesh.podsIn(namespace)) {
        const allowing = authorizationPolicies(context.mesh, workload).filter(closes);
        // With an allow-nothing policy, or another ALLOW, the workload is closed already, and somebody meant it.
        if (allowing.length !== 1 || allowing[0] !== policy) continue;
        const closed = servedPorts(context, workload).filter(({ port }) => !named.has(String(port)));
        if (closed.length === 0) continue;
        yield {
          on: policy,
          path: ['spec', 'rules'],
          part: 'key',
          message: `this is the only ALLOW on ${describeObject(workload.object)}: port ${listed(closed.map(({ port, reachedAs }) => `${port} (${reachedAs[0]})`))} was open, and this policy closes it.`,
        };
        break;
      }
    }
  },
};

/** Not in dry run: what is only logged closes nothing. */
function closes(policy: AuthorizationPolicy): boolean {
  return actionOf(policy) === 'ALLOW' && !isDryRun(policy);
}

/** Ports of the only rules there are; undefined where one rule is for every port. */
function portsNamed(policy: AuthorizationPolicy): ReadonlySet<string> | undefined {
  const ports = new Set<string>();
  for (const rule of rulesOf(policy)) {
    const operations = operationsOf(rule);
    if (operations.length === 0 || operations.some(({ value }) => texts(value.ports).length === 0)) return undefined;
    for (const { value } of operations) for (const port of texts(value.ports)) ports.add(port);
  }
  return ports.size > 0 ? ports : undefined;
}

/** Ports that a Service leads to. */
function servedPorts({ mesh }: LintContext, workload: PodWorkload): readonly WorkloadPort[] {
  return [...enforcedIn(mesh).workloads.portsOf(workload).values()].filter(({ reachedAs }) => reachedAs.length > 0);
}
