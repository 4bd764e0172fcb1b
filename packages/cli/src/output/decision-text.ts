/** Formats decisions as text, including the answer, the reason, and the file and line of the rule. */
import {
  type Decision,
  describeDecision,
  describeRule,
  type Evaluation,
  type OutsideAnswer,
  type RuleRef,
} from '@meshpass/analysis/evaluate';
import { describeAssumption, type Place } from '@meshpass/istio';

/**
 * Formats a decision as `refused (403) as HTTP: this rule denies it: DENY shop/no-admin rule 0, policies.yaml:12`, for
 * example. Its notes are printed below it on separate lines.
 */
export function formatDecision(decision: Decision): readonly [string, ...string[]] {
  const { allowed, status, as, at } = decision;
  const verdict = `${allowed ? 'allowed' : 'refused'}${status === undefined ? '' : ` (${status})`}`;
  const notes = [
    ...(decision.external ?? []).map(
      ({ provider, rule: by }) => `depends on the authorizer ${provider}: ${describeRule(by)}`,
    ),
    ...(decision.audited ?? []).map((by) => `audited by ${describeRule(by)}`),
    ...(decision.dryRun?.denied ? [`would be denied by ${describeRule(decision.dryRun.denied)} (dry run)`] : []),
    ...(decision.dryRun?.allowed === 'no-rule' ? ['no rule would allow it (dry run)'] : []),
  ];
  const by = at === undefined ? '' : ` by ${at}`;
  return [
    `${verdict} as ${as.toUpperCase()}${by}: ${describeDecision(decision)}`,
    ...notes.map((note) => `    ${note}`),
  ];
}

/** Formats a decision, or explains why it is unknown because something other than the policies may affect it. */
export function formatEvaluation({ decision, unknown }: Evaluation): readonly [string, ...string[]] {
  return unknown === undefined ? formatDecision(decision) : [`unknown: ${unknown}`];
}

/**
 * Formats the assumptions of a decision, one per line. Returns an empty list if there are none.
 * @param namespaces the namespaces in which Pods are assumed to have a sidecar
 * @param unplaced a description of the objects that have no namespace
 */
export function formatAssumptions(namespaces: readonly string[], unplaced: string | undefined): readonly string[] {
  const texts = assumptions(namespaces, unplaced);
  return texts.length === 0 ? [] : ['', ...texts];
}

/** Returns the assumptions in the form used by JSON output. */
export function assumptionJson(namespaces: readonly string[], unplaced: string | undefined): object {
  const assumed = assumptions(namespaces, unplaced);
  return assumed.length === 0 ? {} : { assumed };
}

function assumptions(namespaces: readonly string[], unplaced: string | undefined): readonly string[] {
  return [describeAssumption(namespaces), unplaced].filter((one) => one !== undefined);
}

/** Converts a decision into plain data for JSON output. */
export function decisionJson({ rule, audited, external, dryRun, ...rest }: Decision): object {
  return {
    ...rest,
    ...(rule && { rule: ruleJson(rule) }),
    ...(audited && { audited: audited.map(ruleJson) }),
    ...(external && { external: external.map(({ provider, rule: by }) => ({ provider, rule: ruleJson(by) })) }),
    ...(dryRun && {
      dry_run: {
        ...(dryRun.denied && { denied: ruleJson(dryRun.denied) }),
        ...(dryRun.allowed && { allowed: dryRun.allowed === 'no-rule' ? 'no-rule' : ruleJson(dryRun.allowed) }),
      },
    }),
  };
}

function ruleJson({ place, ...rule }: RuleRef): object {
  return { ...rule, place: place() };
}

/** Formats an answer, including the gateway, the destination, the decision, the rule that decided, and the route. */
export function formatOutsideAnswer(answer: OutsideAnswer): readonly string[] {
  const { gateway, destination, workload, verdict, status, reason, decision, place, route } = answer;
  const way = [gateway, destination, workload].filter((one) => one !== undefined).join(' -> ');
  const code = status === undefined ? '' : ` (${status})`;
  const [judged, ...notes]: readonly string[] =
    decision && verdict !== 'unknown'
      ? formatDecision(decision)
      : [`${verdict === 'no' ? `refused${code}` : verdict}: ${reason}${place ? `, ${placeText(place)}` : ''}`];
  const by = route && route !== place ? [`    by the route at ${placeText(route)}`] : [];
  return [`  ${way === '' ? '' : `${way}: `}${judged}`, ...by, ...notes];
}

function placeText({ file, line }: Place): string {
  return line > 0 ? `${file}:${line}` : file;
}

/** Converts an answer into plain data for JSON output. */
export function outsideJson({ verdict, decision, assumesSidecar: _, ...rest }: OutsideAnswer): object {
  return { ...rest, allowed: verdict, ...(decision && { decision: decisionJson(decision) }) };
}
