/** Defines rules about selectors that do not select what they appear to. */
import {
  identityOf,
  isForSidecars,
  type KubeObject,
  type RequestAuthentication,
  selectorOf,
  selects,
} from '@meshpass/istio';
import { record } from '@meshpass/istio/members';
import type { LintContext } from '../context.ts';
import { each, type Report, type Rule } from '../rule.ts';

/** Reports selectors that are malformed or empty, and therefore do not select what they appear to. */
const wrongSelector: Rule = {
  code: 'MP308',
  name: 'wrong-selector',
  severity: 'error',
  title: 'A selector is malformed, so the policy applies to a whole namespace or to nothing',
  fix: 'Write `selector: {matchLabels: {app: NAME}}`.',
  *check(context) {
    for (const { on } of policies(context))
      yield* wrongParts(on, on.metadata.namespace === context.mesh.config.rootNamespace);
  },
};

/** Returns the policies that can have a selector. Their other fields do not matter here. */
function policies({ mesh }: LintContext) {
  const kinds = ['AuthorizationPolicy', 'RequestAuthentication', 'PeerAuthentication'] as const;
  return kinds
    .flatMap((kind) => mesh.all(kind) as readonly KubeObject[] as readonly RequestAuthentication[])
    .map((on) => ({ on, path: [] }));
}

function* wrongParts(policy: RequestAuthentication, root: boolean): Generator<Report> {
  const { selector } = policy.spec;
  const whole = root ? 'the whole mesh' : `all of namespace ${policy.metadata.namespace}`;
  if (selector) {
    const others = Object.keys(selector).filter((member) => member !== 'matchLabels');
    if (others.length > 0) {
      const labelled = others.every((one) => typeof record(selector)[one] === 'string');
      yield {
        on: policy,
        path: ['spec', 'selector', others[0]!],
        part: 'key',
        message: `${others[0]} is not a known field${labelled ? '; labels belong under matchLabels' : ''}: it is ignored, and the policy applies to ${whole}.`,
      };
    } else if (Object.keys(record(selector.matchLabels)).length === 0) {
      yield {
        on: policy,
        path: ['spec', 'selector'],
        part: 'key',
        message: `an empty selector selects ${whole}.`,
        severity: 'warning',
      };
    }
    const star = Object.entries(record(selector.matchLabels)).find(([, value]) => String(value).includes('*'));
    if (star) {
      yield {
        on: policy,
        path: ['spec', 'selector', 'matchLabels', star[0]],
        message: `a label cannot have wildcards: ${star[0]}: ${star[1]} selects nothing.`,
      };
    }
  }
  if (selector && !isForSidecars(policy)) {
    yield {
      on: policy,
      path: ['spec', 'selector'],
      part: 'key',
      message: 'selector and targetRefs exclude each other: sidecars ignore this policy.',
    };
  }
}

/** Reports policies that apply to no workload. */
const selectsNothing: Rule = {
  code: 'MP309',
  name: 'selects-nothing',
  severity: 'warning',
  title: 'A policy selects no workload and has no effect',
  fix: 'Compare the labels with those of the Pods (not of the Deployment), and check the namespace.',
  check: each(policies, ({ on }, { mesh, complete }) => {
    const wanted = selectorOf(on) ?? {};
    const names = Object.keys(wanted);
    if (names.length === 0) return undefined;
    const { namespace } = on.metadata;
    const everywhere = namespace === mesh.config.rootNamespace;
    const pods = everywhere ? mesh.pods : mesh.podsIn(namespace);
    // The files may cover only part of the mesh. If a namespace has no workloads here, they may be defined elsewhere.
    if (!complete && (everywhere || pods.length === 0)) return undefined;
    if (pods.some((pod) => selects(wanted, pod.labels))) return undefined;
    const elsewhere = mesh.pods.find((pod) => selects(wanted, pod.labels));
    const missing = names.find((name) => !pods.some((pod) => pod.labels[name] === wanted[name])) ?? names[0]!;
    return {
      at: ['spec', 'selector', 'matchLabels', missing],
      message: `no workload of namespace ${namespace} has ${names.map((name) => `${name}: ${wanted[name]}`).join(', ')}${elsewhere ? `; ${identityOf(elsewhere.object)} has, in another namespace` : ''}.`,
    };
  }),
};

export const SELECTOR_RULES: readonly Rule[] = [wrongSelector, selectsNothing];
