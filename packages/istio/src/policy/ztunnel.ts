/**
 * Interprets AuthorizationPolicies the way a ztunnel enforces them. A ztunnel only evaluates properties of connections:
 * ports, addresses and certificates. Sources: `handleRule` in pilot/pkg/serviceregistry/ambient/authorization.go of
 * Istio 1.31, and src/rbac.rs of ztunnel.
 */
import { isIP } from 'node:net';
import { items, record, text, texts } from '../object/members.ts';
import type { Path } from '../object/object.ts';
import type {
  AuthorizationAction,
  AuthorizationCondition,
  AuthorizationOperation,
  AuthorizationRule,
  AuthorizationSource,
} from '../object/security.ts';

export type ZtunnelField =
  | 'source.namespace'
  | 'source.principal'
  | 'source.serviceAccount'
  | 'source.ip'
  | 'destination.ip'
  | 'destination.port';

/**
 * A test of one field. It passes if any of the values matches and none of the excluded values does. If the list of
 * excluded values is empty, nothing is excluded.
 */
export interface ZtunnelTest {
  readonly field: ZtunnelField;
  readonly values: readonly string[];
  readonly notValues: readonly string[];
}

/** A field of a rule that a ztunnel does not evaluate. */
export interface UnreadField {
  readonly name: string;
  /** The path of the field within the rule. */
  readonly path: Path;
  /**
   * Whether istiod ignores the field without treating it as an HTTP field. An ALLOW rule is kept even if it has such a
   * field.
   */
  readonly isIgnored: boolean;
}

/** An alternative in a clause: an operation, a source or a condition. It matches if all of its tests pass. */
interface ZtunnelMatch {
  readonly tests: readonly ZtunnelTest[];
  readonly unread: readonly UnreadField[];
}

export interface ZtunnelRule {
  /**
   * The clauses of the rule. Each clause is a list of alternatives, at least one of which must pass. Undefined if the
   * rule does not match any connections.
   */
  readonly clauses: readonly (readonly (readonly ZtunnelTest[])[])[] | undefined;
  /** The fields that are not evaluated. */
  readonly unread: readonly UnreadField[];
  /**
   * The fields of the first clause in which no alternative tests anything. They are the reason why the rule does not
   * match any connections.
   */
  readonly dead: readonly UnreadField[] | undefined;
}

/**
 * Reads a rule the way a ztunnel does. An ALLOW rule with an HTTP field is left out. In a DENY rule, only the HTTP
 * fields are left out: an alternative without any remaining fields matches nothing, and all other alternatives match
 * more connections than before.
 * @param action either ALLOW or DENY, because a ztunnel ignores policies with other actions
 * @example
 * ```ts
 * import { ztunnelRule } from '@meshpass/istio';
 * ztunnelRule({ to: [{ operation: { ports: ['8080'] } }] }, 'DENY').clauses?.length; // => 1
 * ztunnelRule({ to: [{ operation: { paths: ['/admin'] } }] }, 'DENY').clauses; // => undefined
 * ```
 */
export function ztunnelRule({ from, to, when }: AuthorizationRule, action: AuthorizationAction): ZtunnelRule {
  const given = [
    items(to).map(({ operation }, index) => match(operation, ['to', index, 'operation'])),
    items(from).map(({ source }, index) => match(source, ['from', index, 'source'])),
    ...items(when).map((condition, index) => [conditionMatch(condition, ['when', index])]),
  ].filter((matches) => matches.length > 0);
  const unread = given.flat().flatMap((match) => match.unread);
  const dead = given.find((matches) => matches.every(({ tests }) => tests.length === 0));
  const isLeftOut = action === 'ALLOW' && unread.some(({ isIgnored }) => !isIgnored);
  const clauses = given.map((matches) => matches.map(({ tests }) => tests).filter((tests) => tests.length > 0));
  return {
    clauses: isLeftOut || dead ? undefined : clauses,
    unread,
    dead: dead?.flatMap((match) => match.unread),
  };
}

/** The lists that are tested, each with the list of excluded values and the field they test. */
const TESTED: readonly (readonly [string, string, ZtunnelField])[] = [
  ['ports', 'notPorts', 'destination.port'],
  ['ipBlocks', 'notIpBlocks', 'source.ip'],
  ['namespaces', 'notNamespaces', 'source.namespace'],
  ['serviceAccounts', 'notServiceAccounts', 'source.serviceAccount'],
  ['principals', 'notPrincipals', 'source.principal'],
];
const IGNORED: ReadonlySet<string> = new Set(['trustDomains', 'notTrustDomains']);
const UNREAD: ReadonlySet<string> = new Set([
  ...['hosts', 'notHosts', 'methods', 'notMethods', 'paths', 'notPaths'],
  ...['requestPrincipals', 'notRequestPrincipals', 'remoteIpBlocks', 'notRemoteIpBlocks'],
  ...IGNORED,
]);
const CONDITIONS: ReadonlySet<string> = new Set<ZtunnelField>([
  'source.ip',
  'source.namespace',
  'source.principal',
  'destination.ip',
  'destination.port',
]);

/** Reads a source or an operation. Their lists have different names. */
function match(given: AuthorizationSource | AuthorizationOperation | undefined, path: Path): ZtunnelMatch {
  const lists = record(given);
  return {
    tests: TESTED.flatMap(([yes, no, field]) => test(field, texts(lists[yes]), texts(lists[no]))),
    unread: Object.keys(lists)
      .filter((name) => UNREAD.has(name) && texts(lists[name]).length > 0)
      .map((name) => ({ name, path: [...path, name], isIgnored: IGNORED.has(name) })),
  };
}

function conditionMatch({ key, values, notValues }: AuthorizationCondition, path: Path): ZtunnelMatch {
  if (!CONDITIONS.has(key))
    return {
      tests: [],
      unread: [{ name: text(key) ?? 'a condition without a key', path: [...path, 'key'], isIgnored: false }],
    };
  return { tests: test(key as ZtunnelField, texts(values), texts(notValues)), unread: [] };
}

/** Creates a test of a field, ignoring invalid ports and addresses. A field without values does not test anything. */
function test(field: ZtunnelField, values: readonly string[], notValues: readonly string[]): readonly ZtunnelTest[] {
  const [yes, no] = [values, notValues].map((some) => some.filter((value) => isValid(field, value))) as [
    string[],
    string[],
  ];
  return yes.length + no.length === 0 ? [] : [{ field, values: yes, notValues: no }];
}

function isValid(field: ZtunnelField, value: string): boolean {
  if (field === 'destination.port') return /^\d+$/.test(value) && Number(value) <= 65535;
  return !field.endsWith('.ip') || isRange(value);
}

function isRange(value: string): boolean {
  const [address = '', length, ...rest] = value.split('/');
  const bits = { 0: -1, 4: 32, 6: 128 }[isIP(address)]!;
  if (address.includes('%') || rest.length > 0) return false;
  return bits > 0 && (length === undefined || (/^(?:0|[1-9]\d{0,2})$/.test(length) && Number(length) <= bits));
}
