/**
 * Reads AuthorizationPolicy rules the way istiod translates them for Envoy's RBAC filter. If a value cannot be
 * translated (an HTTP field on a TCP port, or an invalid address), istiod drops an ALLOW rule as a whole. In all other
 * rules, it only drops the value, so that the rule matches more calls. Source: `Generate` and `checkError` in
 * `pilot/pkg/security/authz/model` of Istio 1.31.
 */

import { type AuthorizationAction, type AuthorizationRule, SOURCE_FIELDS } from '@meshpass/istio';
import { parseCidr } from './address.ts';

/** The fields that rules test. The audiences and the presenter of a token are claims. */
export type RuleField = Condition | 'request.headers' | 'request.auth.claims' | 'metadata' | 'host' | 'method' | 'path';

/** A test of one field. It passes if any of the values matches and none of the excluded values does. */
export interface RuleTest {
  readonly field: RuleField;
  /** The name of the header, the path to the claim, or the filter and the key of the metadata. Empty for other fields. */
  readonly path: readonly string[];
  readonly values: readonly string[];
  readonly notValues: readonly string[];
}

/** The clauses of a rule, all of which must match. Each is a list of alternatives, which consist of tests. */
export type Clauses<Test> = readonly (readonly (readonly Test[])[])[];

/** The condition keys (`when`) that are fields by themselves. */
const CONDITIONS = [
  'source.principal',
  'source.namespace',
  'source.serviceAccount',
  'source.trustDomain',
  'source.ip',
  'remote.ip',
  'destination.ip',
  'destination.port',
  'connection.sni',
  'request.auth.principal',
] as const;
type Condition = (typeof CONDITIONS)[number];

const OPERATION_FIELDS = [
  ['hosts', 'notHosts', 'host'],
  ['ports', 'notPorts', 'destination.port'],
  ['methods', 'notMethods', 'method'],
  ['paths', 'notPaths', 'path'],
] as const;

const HTTP_FIELDS: ReadonlySet<RuleField> = new Set<RuleField>([
  'host',
  'method',
  'path',
  'request.headers',
  'request.auth.principal',
  'request.auth.claims',
]);

type Protocol = 'http' | 'tcp';

/**
 * Reads a rule.
 * @param protocol the protocol that the rule's port speaks
 * @returns the clauses, or undefined if istiod drops the rule; it does so for an ALLOW rule with a value that it cannot
 *   translate, and for any rule with an unknown condition key
 */
export function envoyRule(
  { from = [], to = [], when = [] }: AuthorizationRule,
  action: AuthorizationAction,
  protocol: Protocol,
): Clauses<RuleTest> | undefined {
  const sources = from.map(({ source = {} }) =>
    SOURCE_FIELDS.map(([yes, no, key]) => readTest(fieldOf(key), source[yes], source[no], protocol)),
  );
  const operations = to.map(({ operation = {} }) =>
    OPERATION_FIELDS.map(([yes, no, field]) => readTest({ field, path: [] }, operation[yes], operation[no], protocol)),
  );
  const conditions = when.map(({ key = '', values, notValues }) => [
    [readTest(fieldOf(key), values, notValues, protocol)],
  ]);
  // The caller is tested first, because most rules are not about the current caller.
  const clauses = [sources, ...conditions, operations].filter((alternatives) => alternatives.length > 0);
  const tests = clauses.flat(2);
  if (tests.includes(undefined) || (action === 'ALLOW' && tests.some((test) => test?.isCut))) return undefined;
  // A field without values does not test anything.
  const tested = (test: RuleTest | undefined) => (test && test.values.length + test.notValues.length > 0 ? [test] : []);
  return clauses.map((alternatives) => alternatives.map((some) => some.flatMap(tested)));
}

/** Lists every test of a rule, whatever the action of the policy and the protocol of the port. */
export function testsOfRule(rule: AuthorizationRule): readonly RuleTest[] {
  return envoyRule(rule, 'AUDIT', 'http')?.flat(2) ?? [];
}

interface Field {
  readonly field: RuleField;
  /** The path as in `RuleTest`, or undefined if the condition key is malformed. */
  readonly path: readonly string[] | undefined;
}

/** Reads a test without the values that cannot be translated. Returns undefined if the field is unknown. */
function readTest(
  known: Field | undefined,
  values: readonly string[] = [],
  notValues: readonly string[] = [],
  protocol: Protocol,
): (RuleTest & { readonly isCut: boolean }) | undefined {
  if (!known) return undefined;
  const { field, path } = known;
  const isRead = path !== undefined && (protocol === 'http' || !HTTP_FIELDS.has(field));
  const [yes, no] = [values, notValues].map((some) => some.filter((value) => isRead && isValue(field, value))) as [
    string[],
    string[],
  ];
  const isCut = yes.length < values.length || no.length < notValues.length;
  return { field, path: path ?? [], values: yes, notValues: no, isCut };
}

function isValue(field: RuleField, value: string): boolean {
  if (field === 'destination.port') return /^[0-9]{1,10}$/.test(value) && Number(value) <= 65535;
  return !field.endsWith('.ip') || parseCidr(value) !== undefined;
}

/** Finds the field of a condition key. Returns undefined if Istio does not know the key. */
function fieldOf(key: string): Field | undefined {
  const condition = CONDITIONS.find((known) => known === key);
  if (condition) return { field: condition, path: [] };
  if (key === 'request.auth.audiences') return { field: 'request.auth.claims', path: ['aud'] };
  if (key === 'request.auth.presenter') return { field: 'request.auth.claims', path: ['azp'] };
  if (key.startsWith('experimental.envoy.filters.')) return { field: 'metadata', path: metadataPath(key) };
  if (key.startsWith('request.headers')) {
    const name = inBrackets(key.slice('request.headers'.length));
    return { field: 'request.headers', path: name === undefined ? undefined : [name.toLowerCase()] };
  }
  if (key.startsWith('request.auth.claims'))
    return { field: 'request.auth.claims', path: claimPath(key.slice('request.auth.claims'.length)) };
  return undefined;
}

/** Parses `experimental.envoy.filters.NAME[KEY]`. */
function metadataPath(key: string): readonly string[] | undefined {
  const text = key.slice('experimental.'.length).replace(/\]$/, '');
  const bracket = text.indexOf('[');
  return bracket < 0 ? undefined : [text.slice(0, bracket), text.slice(bracket + 1)];
}

function inBrackets(text: string): string | undefined {
  return text.startsWith('[') && text.endsWith(']') ? text.replace(/\]$/, '').replace(/^\[/, '') : undefined;
}

/**
 * Parses the path to a claim. `[a][b]` refers to the claim b within the claim a. Any other text is the name of a single
 * claim, including its brackets.
 */
function claimPath(text: string): readonly string[] | undefined {
  if (/^(?:\[[^[\]]*\])*$/.test(text)) return [...text.matchAll(/\[([^[\]]*)\]/g)].map((match) => match[1]!);
  const name = inBrackets(text);
  return name === undefined ? undefined : [name];
}
