/** Defines rules about policies that do not allow or deny what they appear to. */
import {
  type AuthorizationPolicy,
  actionOf,
  authorizationPolicies,
  DRY_RUN,
  isDryRun,
  isForSidecars,
  type PodWorkload,
  selectorOf,
  type WorkloadPort,
} from '@meshpass/istio';
import { items, listed, texts } from '@meshpass/istio/members';
import { describeObject } from '../../exposure/describe.ts';
import { indexEnforcedPolicies } from '../../exposure/enforcer.ts';
import type { LintContext } from '../context.ts';
import {
  conditionsOf,
  objectsOfKind,
  operationsOf,
  type PolicyRule,
  policyRules,
  rulesOf,
  sourcesOf,
} from '../parts.ts';
import { each, type Report, type Rule } from '../rule.ts';

/** Reports empty fields, which mean "everything" in some positions and "nothing" in others. */
const emptyRule: Rule = {
  code: 'MP303',
  name: 'empty-rule',
  severity: 'error',
  title: 'An empty rule matches everything, or an empty policy matches nothing',
  fix: 'Write the intent: to allow nothing, `spec: {}`; to deny everything, `action: DENY` with `rules: [{}]`.',
  *check(context) {
    for (const policy of context.mesh.all('AuthorizationPolicy')) {
      const rules = rulesOf(policy);
      if (rules.length === 0 && actionOf(policy) === 'DENY') {
        const path = policy.spec.rules ? ['spec', 'rules'] : ['spec', 'action'];
        yield { on: policy, path, message: 'a DENY without rules denies nothing.' };
      }
      for (const rule of rules) yield* emptyParts(rule);
    }
  },
};

function* emptyParts(rule: PolicyRule): Generator<Report> {
  const { on, value, path } = rule;
  const parts = (['from', 'to', 'when'] as const).filter((part) => value[part] !== undefined);
  const empty = parts.find((part) => items<object>(value[part]).length === 0);
  if (actionOf(on) === 'ALLOW' && parts.length === 0) {
    yield { on, path, message: 'an empty rule of an ALLOW policy allows every call, even without an identity.' };
  } else if (empty) {
    yield { on, path: [...path, empty], message: `an empty ${empty} matches everything, as if it were omitted.` };
  }
  for (const { value, path } of [...sourcesOf(rule), ...operationsOf(rule)]) {
    if (Object.values(value).some((list) => texts(list).length > 0)) continue;
    yield {
      on,
      path: path.slice(0, -1),
      message: `an empty ${path.at(-1)} is refused by Istio's webhook, and matches everything if the webhook is off.`,
    };
  }
}

/**
 * Reports ALLOW policies that only list exceptions. All other callers are allowed, including those without an identity.
 */
const negativeOnly: Rule = {
  code: 'MP304',
  name: 'negative-only',
  severity: 'warning',
  title: 'An ALLOW rule has only negative conditions',
  fix: 'List the intended callers (`principals`, `requestPrincipals`), and move the exceptions to a DENY policy.',
  *check(context) {
    for (const rule of policyRules(context).filter(({ on }) => actionOf(on) === 'ALLOW')) {
      const sources = sourcesOf(rule);
      const parts = sources.length > 0 ? sources : operationsOf(rule);
      if (conditionsOf(rule).some(({ value }) => texts(value.values).length > 0)) continue;
      if (sources.length === 0 && parts.some(({ value }) => hasPositive(value))) continue;
      const negative = parts.find(({ value }) => Object.keys(value).length > 0 && !hasPositive(value));
      if (!negative) continue;
      const lists = Object.keys(negative.value);
      yield {
        on: rule.on,
        path: [...negative.path, lists[0]!],
        part: 'key',
        message: `${lists.join(' and ')} alone allow everyone else: callers without a certificate or token do not have the attribute, so they are also allowed.`,
      };
    }
  },
};

function hasPositive(part: object): boolean {
  return Object.entries(part).some(([name, values]) => !/^not[A-Z]/.test(name) && texts(values).length > 0);
}

/** Reports policies in dry-run mode, which are logged but not enforced. */
const dryRun: Rule = {
  code: 'MP315',
  name: 'dry-run',
  severity: 'note',
  title: 'A policy is in dry run: it is logged and not enforced',
  fix: 'Remove the annotation `istio.io/dry-run` once the logs show the expected decisions.',
  check: each(objectsOfKind('AuthorizationPolicy'), ({ on }) => {
    if (!isDryRun(on)) return undefined;
    const message = `this ${actionOf(on)} policy has no effect on requests.`;
    return { at: ['metadata', 'annotations', DRY_RUN], part: 'key', message };
  }),
};

/** Reports the first ALLOW policy for a workload, because it changes the workload's default from allow to deny. */
const firstAllow: Rule = {
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

/**
 * Reports the first workload for which this is the only ALLOW policy, if the workload has ports that the policy does
 * not list.
 */
function* closedPorts(context: LintContext, policy: AuthorizationPolicy): Generator<Report> {
  const named = portsNamed(policy);
  if (!named) return;
  for (const workload of context.mesh.podsIn(policy.metadata.namespace)) {
    const allowing = authorizationPolicies(context.mesh, workload).filter(closes);
    // If there is another ALLOW policy, or one that allows nothing, the workload was already closed on purpose.
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

/**
 * Checks whether a policy makes a workload deny calls by default. Policies in dry-run mode do not, because they are
 * only logged.
 */
function closes(policy: AuthorizationPolicy): boolean {
  return actionOf(policy) === 'ALLOW' && !isDryRun(policy);
}

/** Lists the ports in a policy's rules. Returns undefined if one of the rules applies to every port. */
function portsNamed(policy: AuthorizationPolicy): ReadonlySet<string> | undefined {
  const rules = rulesOf(policy).map(operationsOf);
  const applied = rules.flatMap((operations) => operations.map(({ value }) => texts(value.ports)));
  if (rules.some((operations) => operations.length === 0) || applied.some((ports) => ports.length === 0))
    return undefined;
  const ports = new Set(applied.flat());
  return ports.size > 0 ? ports : undefined;
}

/** Lists the ports of a workload that Services route to. */
function servedPorts({ mesh }: LintContext, workload: PodWorkload): readonly WorkloadPort[] {
  return [...indexEnforcedPolicies(mesh).workloads.portsOf(workload).values()].filter(
    ({ reachedAs }) => reachedAs.length > 0,
  );
}

export const POLICY_EFFECT_RULES: readonly Rule[] = [emptyRule, negativeOnly, firstAllow, dryRun];
