/** Output and exit code of a plan. */
import { type Acceptance, formatPlan, isUnknown, type Plan, refusals } from '@meshpass/analysis/plan';
import { EXIT, type ExitCode } from '../command/failure.ts';
import { choice } from '../command/flag.ts';
import { assumptionJson } from './decision-text.ts';
import { printJson, printText } from './print.ts';

export const planOutput = choice(['text', 'json', 'markdown'], 'output format', { value: '<format>', default: 'text' });
export type PlanOutput = 'text' | 'json' | 'markdown';

/** Prints a plan. */
export function printPlan(plan: Omit<Plan, 'manifests'>, output: PlanOutput): void {
  if (output !== 'json') {
    printText(formatPlan(plan, output));
    return;
  }
  const { id, state, resources, reach, changes, findings, assumed, unplaced } = plan;
  const all = { id, state, resources, reach, changes, findings, ...assumptionJson(assumed, unplaced) };
  printJson(all);
}

/** Returns a separate exit code if a plan is refused only because it is unknown whether all grants work. */
export function planExitCode(plan: Pick<Plan, 'findings'>, acceptance: Acceptance = {}): ExitCode {
  if (refusals(plan, acceptance).length === 0) return EXIT.ok;
  return isUnknown(plan) ? EXIT.unknown : EXIT.failed;
}
