/** Decisions about requests from outside, as text and JSON. */
import type { OutsideAnswer } from '@meshpass/analysis/evaluate';
import type { Place } from '@meshpass/istio';
import { decisionJson, decisionLines } from './decision-text.ts';

/** Formats an answer: the gateway, the destination, the decision and its rule, and the route. */
export function outsideLines(answer: OutsideAnswer): readonly string[] {
  const { gateway, destination, workload, verdict, status, reason, decision, place, route } = answer;
  const way = [gateway, destination, workload].filter((one) => one !== undefined).join(' -> ');
  const code = status === undefined ? '' : ` (${status})`;
  const [judged, ...notes]: readonly string[] =
    decision && verdict !== 'unknown'
      ? decisionLines(decision)
      : [`${verdict === 'no' ? `refused${code}` : verdict}: ${reason}${place ? `, ${placeText(place)}` : ''}`];
  const by = route && route !== place ? [`    by the route at ${placeText(route)}`] : [];
  return [`  ${way === '' ? '' : `${way}: `}${judged}`, ...by, ...notes];
}

function placeText({ file, line }: Place): string {
  return line > 0 ? `${file}:${line}` : file;
}

/** Converts an answer into plain data for `--output json`. */
export function outsideJson({ verdict, decision, assumesSidecar: _, ...rest }: OutsideAnswer): object {
  return { ...rest, allowed: verdict, ...(decision && { decision: decisionJson(decision) }) };
}
