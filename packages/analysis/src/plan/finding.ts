/** What is wrong with a change, each with a call that proves it and the rule that decides about that call. */
import { realProducts } from '../diff/compare.ts';
import { explainDecision } from '../diff/decision.ts';
import { type Description, describe, formatCall } from '../diff/describe.ts';
import { type Endpoint, formatWhere } from '../diff/endpoint.ts';
import { NONE, type Node } from '../diff/formula/diagram.ts';
import type { PortPolicy } from '../diff/policy-index.ts';
import type { AnalysisContext } from './context.ts';

export type FindingKind =
  | 'grant-does-not-work'
  | 'reaches-more'
  | 'changes-others'
  /** Something decides that is not understood. Keeps the change from being applied until somebody accepts that. */
  | 'not-known'
  /** Does not keep the change from being applied. */
  | 'note';

export interface Finding {
  readonly kind: FindingKind;
  readonly grant?: string;
  /** What and where, in words. */
  readonly message: string;
  readonly example: string;
  /** By which rule. */
  readonly because: string;
}

/** Of calls that are not as they should be: where, and by which rules of the state after the change. */
export interface Suspicion {
  readonly kind: FindingKind;
  readonly calls: Node;
  readonly where: readonly Endpoint[];
  readonly portPolicy: PortPolicy;
  readonly grant?: string;
  /** From what is said of the calls to a sentence, without the place. */
  readonly sentence: (said: Description) => string;
  /** Fields that go without saying. */
  readonly given?: ReadonlySet<string>;
  /** Place in the access file. */
  readonly source?: string;
}

/** Findings for one suspicion; more of them say the same again. */
const LISTED = 3;

/** @returns nothing where no such call exists */
export function findingsOf(
  { space, real }: Pick<AnalysisContext, 'space' | 'real'>,
  suspicion: Suspicion,
): readonly Finding[] {
  const { kind, calls, where, portPolicy, grant, source } = suspicion;
  if (calls === NONE) return [];
  const findings: Finding[] = [];
  for (const { product, example } of realProducts(space, calls, real)) {
    if (findings.length === LISTED) break;
    const said = describe(space.explain(product), suspicion.given);
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
