/** `meshpass policy plan`: what a change of the access file writes and means, and whether it may be made. */
import { type Acceptance, formatPlan, isUnknown, type Plan, planChange, refusals } from '@meshpass/analysis/plan';
import { EXIT } from '../../command/failure.ts';
import { type MeshFlags, readAccessFile, readPolicyInput } from '../../input/policy-input.ts';
import { assumptionJson } from '../../output/decision-text.ts';

export interface PlanFlags extends MeshFlags {
  readonly access: string;
  /** The access file in force. */
  readonly from?: string;
  readonly output: 'text' | 'json' | 'markdown';
}

/** @throws MeshpassError `access_*`, `manifest_*`, `usage`, `kubernetes_unavailable`, `policy_too_large` */
export async function planPolicy(paths: readonly string[], flags: PlanFlags): Promise<void> {
  const access = readAccessFile(flags.access);
  const { resources, shape, trustDomainAliases, tokens, unread } = await readPolicyInput(paths, flags);
  const plan = planChange({
    ...{ access, cluster: resources, shape, trustDomainAliases, tokens, unread },
    ...(flags.from !== undefined && { inForce: readAccessFile(flags.from) }),
  });
  printPlan(plan, flags.output);
}

/** Prints a plan; one that is refused fails, and one of which it is not known whether every grant works has a code of its own. */
export function printPlan(plan: Omit<Plan, 'manifests'>, output: PlanFlags['output']): void {
  if (output === 'json') {
    const { id, state, resources, reach, people, findings, assumed, unplaced } = plan;
    const all = { id, state, resources, reach, people, findings, ...assumptionJson(assumed, unplaced) };
    console.log(JSON.stringify(all, null, 2));
  } else console.log(formatPlan(plan, output));
  process.exitCode = exitCodeOf(plan);
}

export function exitCodeOf(plan: Pick<Plan, 'findings'>, acceptance: Acceptance = {}): number {
  if (refusals(plan, acceptance).length === 0) return EXIT.ok;
  return isUnknown(plan) ? EXIT.unknown : EXIT.failed;
}
