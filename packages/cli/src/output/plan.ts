/** Formats a plan and determines its exit code. */
import { type Acceptance, formatPlan, isUnknown, type Plan, refusals } from '@meshpass/analysis/plan';
import { choice } from '../command/flag.ts';
import { type Answer, EXIT, type ExitCode } from '../command/outcome.ts';

export const planOutput = choice(['text', 'json', 'markdown'], 'output format', { value: '<format>', default: 'text' });
export type PlanOutput = 'text' | 'json' | 'markdown';

/** Builds a command's answer from a plan, as either text or Markdown. */
export function planAnswer(plan: Omit<Plan, 'manifests'>, output: PlanOutput, json: unknown = plan): Answer {
  return { json, text: () => formatPlan(plan, output === 'json' ? 'text' : output) };
}

/**
 * Returns the exit code of a plan. There is a separate exit code for plans that are refused only because it is unknown
 * whether all grants work.
 */
export function planExitCode(plan: Pick<Plan, 'findings'>, acceptance: Acceptance = {}): ExitCode {
  if (refusals(plan, acceptance).length === 0) return EXIT.ok;
  return isUnknown(plan) ? EXIT.unknown : EXIT.failed;
}
