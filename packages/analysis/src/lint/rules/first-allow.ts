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
import { describeObject } from '../../exposure/describe.ts';
import { enforcedIn } from '../../exposure/enforced.ts';
import type { LintContext } from '../context.ts';
import { operationsOf, rulesOf } from '../parts.ts';
import type { Report, Rule } from '../rule.ts';

/** The first ALLOW on a workload changes its default from open to closed. */
export const firstAllow: Rule = {
  code: 'MP305',
  name: 'first-allow',
  severity: 'warning',
  title: 'The first ALLOW on a workload closes everything that it does not list',
  fix: 'Also allow the other ports, or use a DENY for the calls that must be refused. If closing is intended, state it with an allow-nothing policy (`spec: {}`) in the namespace.',
  *check(context) {
    for (const policy of context.mesh.all('AuthorizationPolicy')) {
      if (!closes(policy) || !isForSidecars(policy)) continue;
      const selects = Object.keys(selectorOf(policy) ?? {}).length > 0;
      if (selects) yield* closedPorts(context, policy);
      else if (policy.metadata.namespace === context.mesh.config.rootNamespace && items(policy.spec.rules).length > 0) {
        yield {
          on: policy,
          path: ['spec'],
          part: 'key',
          message:
            'an ALLOW in the root namespace, without a selector, closes every workload in the mesh to everything that it does not list.',
        };
      }
    }
  },
};

/** Reports the first workload whose only ALLOW closes ports that it does not name. */
function* closedPorts(context: LintContext, policy: AuthorizationPolicy): Generator<Report> {
  const named = portsNamed(policy);
  if (!named) return;
  for (const workload of context.mesh.podsIn(policy.metadata.namespace)) {
    const allowing = authorizationPolicies(context.mesh, workload).filter(closes);
    // With an allow-nothing policy, or another ALLOW, the workload is already closed on purpose.
    if (allowing.length !== 1 || allowing[0] !== policy) continue;
    const closed = servedPorts(context, workload).filter(({ port }) => !named.has(String(port)));
    if (closed.length === 0) continue;
    yield {
      on: policy,
      path: ['spec', 'rules'],
      part: 'key',
      message: `this is the only ALLOW on ${describeObject(workload.object)}: port ${listed(closed.map(({ port, reachedAs }) => `${port} (${reachedAs[0]})`))} was open, and this policy closes it.`,
    };
    return;
  }
}

/** Whether a policy closes a workload. Policies in dry run are only logged. */
function closes(policy: AuthorizationPolicy): boolean {
  return actionOf(policy) === 'ALLOW' && !isDryRun(policy);
}

/** Lists the ports of the policy's rules. Returns undefined if a rule applies to every port. */
function portsNamed(policy: AuthorizationPolicy): ReadonlySet<string> | undefined {
  const rules = rulesOf(policy).map(operationsOf);
  const applied = rules.flatMap((operations) => operations.map(({ value }) => texts(value.ports)));
  if (rules.some((operations) => operations.length === 0) || applied.some((ports) => ports.length === 0))
    return undefined;
  const ports = new Set(applied.flat());
  return ports.size > 0 ? ports : undefined;
}

/** Lists the ports that a Service routes to. */
function servedPorts({ mesh }: LintContext, workload: PodWorkload): readonly WorkloadPort[] {
  return [...enforcedIn(mesh).workloads.portsOf(workload).values()].filter(({ reachedAs }) => reachedAs.length > 0);
}
