/** Defines lint rules, the parts of objects that they check, and their reports. */
import type { KubeObject, Path } from '@meshpass/istio';
import type { LintContext } from './context.ts';
import type { RuleText, Severity } from './model.ts';

/** Single problem that a rule found. */
export interface Report {
  readonly on: KubeObject;
  readonly path: Path;
  /** Part that the caret points to; defaults to the value. */
  readonly part?: 'key' | 'value';
  readonly message: string;
  readonly severity?: Severity;
}

/** Lint rule: a pure function of the known mesh. */
export interface Rule extends RuleText {
  readonly check: (context: LintContext) => Iterable<Report>;
}

/** Part of an object, with its path. */
export interface Part<Value, On extends KubeObject = KubeObject> {
  readonly on: On;
  readonly path: Path;
  readonly value: Value;
}

/** Problem with a part of an object. */
export interface Problem extends Omit<Report, 'on' | 'path'> {
  /** Path from the part to the field; defaults to the part itself. */
  readonly at?: Path;
}

/** Creates a rule's check if the rule judges each part separately. */
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
