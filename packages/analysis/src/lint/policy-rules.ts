/** Walks the rules of AuthorizationPolicies, with the path to each part. */

import type {
  AuthorizationCondition,
  AuthorizationOperation,
  AuthorizationPolicy,
  AuthorizationRule,
  AuthorizationSource,
  Path,
} from '@meshpass/istio';
import { items, record, texts } from '@meshpass/istio/members';

export interface At<T> {
  readonly value: T;
  readonly path: Path;
}

export function rulesOf(policy: AuthorizationPolicy): readonly At<AuthorizationRule>[] {
  return items(policy.spec.rules).map((value, index) => ({ value, path: ['spec', 'rules', index] }));
}

export function sourcesOf({ value, path }: At<AuthorizationRule>): readonly At<AuthorizationSource>[] {
  return items(value.from).map((from, index) => ({
    value: record(from.source) as AuthorizationSource,
    path: [...path, 'from', index, 'source'],
  }));
}

export function operationsOf({ value, path }: At<AuthorizationRule>): readonly At<AuthorizationOperation>[] {
  return items(value.to).map((to, index) => ({
    value: record(to.operation) as AuthorizationOperation,
    path: [...path, 'to', index, 'operation'],
  }));
}

export function conditionsOf({ value, path }: At<AuthorizationRule>): readonly At<AuthorizationCondition>[] {
  return items(value.when).map((condition, index) => ({ value: condition, path: [...path, 'when', index] }));
}

/** Every text in the lists of a source or an operation, with the list's name. */
export function* entriesOf(
  part: At<AuthorizationSource | AuthorizationOperation>,
): Generator<{ readonly list: string; readonly text: string; readonly path: Path }> {
  for (const [list, values] of Object.entries(part.value)) {
    for (const [index, text] of texts(values).entries()) yield { list, text, path: [...part.path, list, index] };
  }
}
