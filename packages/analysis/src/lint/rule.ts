/** One rule of the linter, and what it reports. */

import type { KubeObject, Path } from '@meshpass/istio';
import type { LintContext } from './context.ts';
import type { RuleText, Severity } from './model.ts';

/** One thing that a rule saw. */
export interface Report {
  readonly on: KubeObject;
  readonly path: Path;
  /** Where the caret goes (default: the value). */
  readonly part?: 'key' | 'value';
  readonly message: string;
  readonly severity?: Severity;
  /** Where this very finding can be mended more exactly than `RuleText.fix` says. */
  readonly fix?: string;
}

/** One rule of the linter: a pure function of what is known of the mesh. */
export interface Rule extends RuleText {
  readonly check: (context: LintContext) => Iterable<Report>;
}
