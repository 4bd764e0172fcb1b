/** Calls that were made, with the outcome and the evaluator's decision, and a report of those that differ. */
import type { Call, Decision } from '@meshpass/analysis/evaluate';
import type { Seen } from '../differential/caller.ts';
import type { Way } from './callers.ts';

export interface Sent {
  readonly way: Way;
  /** Call as the deciding proxy sees it. */
  readonly call: Call;
  readonly seen: Seen;
  readonly decision: Decision;
  /** Reason why the evaluator does not know. */
  readonly unknown?: string;
}

export function isOpen(seen: Seen): boolean {
  return seen === 200 || seen === 'open';
}

/** Prints one line per call, for a regression case. */
export function report(seed: number, disagreements: readonly Sent[], policies: readonly object[]): string {
  const line = (object: object) =>
    JSON.stringify(object, (key, value) => {
      if (key === 'jwks' || key === 'apiVersion') return undefined;
      return typeof value === 'string' ? value.replaceAll(/eyJ[\w-]+\.[\w-]+\.([\w-]{4})[\w-]+/g, 'TOKEN-$1') : value;
    });
  const shown = disagreements.slice(0, 10).map(({ decision: { rule, ...decision }, call, ...sent }) =>
    line({
      ...sent,
      decision,
      rule: rule && `${rule.kind} ${rule.name}/${rule.rule}`,
      call: { ...call, tokens: call.tokens?.map(({ claims, genuine }) => ({ claims, genuine })) },
    }),
  );
  return [`seed ${seed}`, ...shown, ...policies.map(line)].join('\n');
}
