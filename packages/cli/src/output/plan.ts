/** A plan as commands print it, and what it means for the exit code. */
import { type Acceptance, formatPlan, isUnknown, type Plan, refusals } from '@meshpass/analysis/plan';
import { EXIT, type ExitCode } from '../command/failure.ts';
import { choice } from '../command/flag.ts';
import { assumptionJson } from './decision-text.ts';

export const planOutput = choice(['text', 'json', 'markdown'], 'output format', { value: '<format>', default: 'text' });
export type PlanOutput = 'text' | 'json' | 'markdown';

export function printPlan(plan: Omit<Plan, 'manifests'>, output: PlanOutput): void {
  if (output !== 'json') {
    console.log(formatPlan(plan, output));
    return;
  }
  const { id, state, resources, reach, people, trust, findings, assumed, unplaced } = plan;
  const all = { id, state, resources, reach, people, trust, findings, ...assumptionJson(assumed, unplaced) };
  console.log(JSON.stringify(all, null, 2));
}

/** A plan that is refused only because it is unknown whether every grant works has a code of its own. */
export function planExitCode(plan: Pick<Plan, 'findings'>, acceptance: Acceptance = {}): ExitCode {
  if (refusals(plan, acceptance).length === 0) return EXIT.ok;
  return isUnknown(plan) ? EXIT.unknown : EXIT.failed;
}
