/** Defines lint rules, the parts of objects that they check, and the problems that they report. */
import type { KubeObject, Path } from '@meshpass/istio';
import type { LintContext } from './context.ts';
import type { RuleText, Severity } from './model.ts';

/** A single problem that a rule has found. */
export interface Report {
  readonly on: KubeObject;
  readonly path: Path;
  /** The part of the field that the caret points to. Defaults to the value. */
  readonly part?: 'key' | 'value';
  readonly message: string;
  readonly severity?: Severity;
}

/** A lint rule, whose check is a pure function of the known mesh. */
export interface Rule extends RuleText {
  readonly check: (context: LintContext) => Iterable<Report>;
}

/** A part of an object, with its path in the manifest. */
export interface Part<Value, On extends KubeObject = KubeObject> {
  readonly on: On;
  readonly path: Path;
  readonly value: Value;
}

/** A problem with one part of an object. */
export interface Problem extends Omit<Report, 'on' | 'path'> {
  /** The path to the affected field, relative to the part. Defaults to the part itself. */
  readonly at?: Path;
}

/** Creates the `check` function of a rule that examines each part on its own. */
export function each<Judged extends Pick<Report, 'on' | 'path'>>(
  partsOf: (context: LintContext) => Iterable<Judged>,
  judge: (part: Judged, context: LintContext) => Problem | undefined,
): Rule['check'] {
  return function* (context) {
    for (const part of partsOf(context)) {
      const problem = judge(part, context);
      if (!problem) continue;
      const { at = [], ...report } = problem;
      yield { on: part.on, path: [...part.path, ...at], ...report };
    }
  };
}
