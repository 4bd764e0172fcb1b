/** Lint rule and its reports. */

import type { KubeObject, Path } from '@meshpass/istio';
import type { LintContext } from './context.ts';
import type { RuleText, Severity } from './model.ts';

/** Single problem found by a rule. */
export interface Report {
  readonly on: KubeObject;
  readonly path: Path;
  /** Part that the caret marks; defaults to the value. */
  readonly part?: 'key' | 'value';
  readonly message: string;
  readonly severity?: Severity;
}

/** Lint rule: a pure function of the known mesh. */
export interface Rule extends RuleText {
  readonly check: (context: LintContext) => Iterable<Report>;
}
