import type { AuthorizationPolicy, KubeObject, RequestAuthentication } from '@meshpass/istio';
import { record } from '@meshpass/istio/members';
import type { Report, Rule } from '../rule.ts';

/** A selector that does not select what it looks like it does. */
export const wrongSelector: Rule = {
  code: 'MP308',
  name: 'wrong-selector',
  severity: 'error',
  title: 'A selector is malformed, so the policy applies to a whole namespace or to nothing',
  fix: 'Write `selector: {matchLabels: {app: NAME}}`.',
  *check(context) {
    for (const kind of ['AuthorizationPolicy', 'RequestAuthentication', 'PeerAuthentication'] as const) {
      for (const policy of context.mesh.all(kind) as readonly (AuthorizationPolicy | RequestAuthentication)[]) {
        yield* look(policy, policy.metadata.namespace === context.mesh.config.rootNamespace);
      }
    }
  },
};

function* look(
  policy: KubeObject & { readonly spec: AuthorizationPolicy['spec'] | RequestAuthentication['spec'] },
  root: boolean,
): Generator<Report> {
  const { selector, targetRef, targetRefs } = policy.spec;
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
  if (selector && (targetRef || (targetRefs && targetRefs.length > 0))) {
    yield {
      on: policy,
      path: ['spec', 'selector'],
      part: 'key',
      message: 'selector and targetRefs exclude each other: sidecars ignore this policy.',
    };
  }
}
