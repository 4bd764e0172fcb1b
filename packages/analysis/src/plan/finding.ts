/** Problems with a change. Each one includes a call that proves it and the rule that decides this call. */
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
  /** The result is unknown. The change is refused unless an operator accepts the risk. */
  | 'not-known'
  /** The finding does not prevent the change. */
  | 'note';

export interface Finding {
  readonly kind: FindingKind;
  readonly grant?: string;
  /** Describes the calls and their ports. */
  readonly message: string;
  readonly example: string;
  /** Rule that decides the example call. */
  readonly because: string;
}

/** Calls that would be a problem, with their ports and the rules after the change. */
export interface Suspicion {
  readonly kind: FindingKind;
  readonly calls: Node;
  readonly where: readonly Endpoint[];
  readonly portPolicy: PortPolicy;
  readonly grant?: string;
  /** Creates the sentence from a description of the calls. The ports are not included. */
  readonly sentence: (said: Description) => string;
  /** Fields that the context already implies. */
  readonly given?: ReadonlySet<string>;
  /** Position in the access file. */
  readonly source?: string;
}

/** Maximum number of findings per suspicion. Any others would be similar. */
const LISTED = 3;

/**
 * Lists the findings for a suspicion.
 * @returns an empty list if no such call exists
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
