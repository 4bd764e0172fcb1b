/**
 * Defines the problems that a change can have. Each finding includes a call that proves it and the rule that decides
 * this call.
 */
import { realProducts } from '../diff/compare.ts';
import { explainDecision } from '../diff/decision.ts';
import { type Description, describeProduct, formatCall } from '../diff/describe.ts';
import { type Endpoint, formatWhere } from '../diff/endpoint.ts';
import { NONE, type Node } from '../diff/formula/diagram.ts';
import type { PortPolicy } from '../diff/port-policy.ts';
import type { AnalysisContext } from './context.ts';

export type FindingKind =
  | 'grant-does-not-work'
  | 'reaches-more'
  | 'changes-others'
  /** The result is unknown. The change is rejected unless an operator accepts the risk. */
  | 'not-known'
  /** The finding is only informative and does not prevent the change. */
  | 'note';

export interface Finding {
  readonly kind: FindingKind;
  readonly grant?: string;
  /** Describes the calls and the ports that they are made to. */
  readonly message: string;
  readonly example: string;
  /** The rule that decides the example call. */
  readonly because: string;
}

/** Calls that would be a problem if they were possible, with their ports and the rules that apply after the change. */
export interface Suspicion {
  readonly kind: FindingKind;
  readonly calls: Node;
  readonly where: readonly Endpoint[];
  readonly portPolicy: PortPolicy;
  readonly grant?: string;
  /** Turns a description of the calls into a sentence, which does not mention the ports. */
  readonly sentence: (said: Description) => string;
  /** The fields that do not have to be mentioned because the context implies them. */
  readonly given?: ReadonlySet<string>;
  /** The position in the access file that the suspicion relates to. */
  readonly source?: string;
}

/** The maximum number of findings for each suspicion. Any others would be similar to these. */
const LISTED = 3;

/**
 * Lists the findings that confirm a suspicion.
 * @returns the findings, or an empty list if no such call exists
 */
export function suspicionFindings(
  { space, real }: Pick<AnalysisContext, 'space' | 'real'>,
  suspicion: Suspicion,
): readonly Finding[] {
  const { kind, calls, where, portPolicy, grant, source } = suspicion;
  if (calls === NONE) return [];
  const findings: Finding[] = [];
  for (const { product, example } of realProducts(space, calls, real)) {
    if (findings.length === LISTED) break;
    const said = describeProduct(space.explain(product), suspicion.given);
    const circumstances = said.circumstances ? `, ${said.circumstances}` : '';
    findings.push({
      kind,
      ...(grant !== undefined && { grant }),
      message: `${suspicion.sentence(said)} on ${formatWhere(where)}${circumstances}`,
      example: formatCall(example, where[0]?.protocol ?? 'http', said.matters),
      because: explainDecision(portPolicy, example).reason + (source === undefined ? '' : `; granted at ${source}`),
    });
  }
  return findings;
}
