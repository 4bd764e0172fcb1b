/** Defines rules about individual values in AuthorizationPolicies that can never match as written. */
import { actionOf, didYouMean } from '@meshpass/istio';
import type { LintContext } from '../context.ts';
import {
  conditionsOf,
  jwtRules,
  operationEntries,
  policyRules,
  type RuleEntry,
  ruleEntries,
  sourceEntries,
} from '../parts.ts';
import { each, type Rule } from '../rule.ts';

const KEYS = [
  ...['source.ip', 'remote.ip', 'source.namespace', 'source.serviceAccount', 'source.principal', 'source.trustDomain'],
  ...['request.auth.principal', 'request.auth.audiences', 'request.auth.presenter'],
  ...['destination.ip', 'destination.port', 'connection.sni'],
];
const KEYED = ['request.headers', 'request.auth.claims', 'experimental.envoy.filters.'];

/**
 * Reports conditions that Istio does not know, because it drops the entire rule. Source:
 * pilot/pkg/security/authz/model/model.go.
 */
const unknownCondition: Rule = {
  code: 'MP301',
  name: 'unknown-condition',
  severity: 'error',
  title: 'A condition has a key that Istio does not know, so the whole rule is ignored',
  fix: 'Use a key from https://istio.io/latest/docs/reference/config/security/conditions/.',
  check: each(conditions, ({ on, value }) => {
    const key = String(value.key ?? '');
    const keyed = KEYED.find((one) => key.startsWith(one));
    if (KEYS.includes(key) || (keyed && /^[^[\]]+\[[^[\]]+\](?:\[[^[\]]+\])*$/.test(key))) return undefined;
    const effect = actionOf(on) === 'DENY' ? 'what it should deny is allowed' : 'what it should allow is not';
    const hint = keyed
      ? ` (write ${keyed.replace(/\.$/, '.x')}[NAME])`
      : didYouMean(key, [...KEYS, ...KEYED.slice(0, 2)]);
    return {
      at: ['key'],
      message: `Istio does not know the key ${JSON.stringify(key)}${hint}. It ignores the whole rule: ${effect}.`,
    };
  }),
};

function conditions(context: LintContext) {
  return policyRules(context).flatMap(conditionsOf);
}

const LISTS = /^(?:not)?(?:paths|hosts|methods|principals|requestPrincipals|namespaces|serviceAccounts)$/i;

/**
 * Reports values that look like regular expressions. Istio only compares strings exactly, or with a single `*` at one
 * end.
 */
const notARegex: Rule = {
  code: 'MP306',
  name: 'not-a-regex',
  severity: 'error',
  title: 'A value looks like a regular expression or has * in the middle, and is compared as text',
  fix: 'Use an exact value, `prefix*`, `*suffix`, or for paths the templates `{*}` (one segment) and `{**}` (the rest).',
  check: each(comparedEntries, ({ on, list, value }) => {
    const why = whyRegex(value, list);
    if (!why) return undefined;
    const effect =
      actionOf(on) === 'DENY' ? 'so it does not deny the intended calls' : 'so the intended calls do not match';
    return { message: `${JSON.stringify(value)} is compared as text: ${why}, ${effect}.` };
  }),
};

/** Returns all strings that Istio compares. The values of a condition are listed under the condition's key. */
function comparedEntries(context: LintContext): readonly RuleEntry[] {
  return [
    ...[...sourceEntries(context), ...operationEntries(context)].filter(({ list }) => LISTS.test(list)),
    ...conditions(context).flatMap((condition) =>
      ruleEntries(condition).map((one) => ({ ...one, list: String(condition.value.key) })),
    ),
  ];
}

/**
 * Matches a prefix for all server names of a port, regardless of the subset, such as `outbound_.8080_.*`. The dot
 * before the `*` is part of the name.
 */
const NAMES_OF_PORT = /^outbound_\.\d+_\.\*$/;

function whyRegex(value: string, list: string): string | undefined {
  if (list === 'connection.sni' && NAMES_OF_PORT.test(value)) return undefined;
  if (/\.[*+]|\[[^\]]*\][*+?]|\\[dwsb./]|\(\?|\(.*\|.*\)/.test(value))
    return 'regular expression characters are literal';
  if (value.startsWith('^') || (value.length > 1 && value.endsWith('$'))) return '^ and $ are literal';
  const inner = value.replace(/^\*/, '').replace(/\*$/, '').replaceAll('{*}', '').replaceAll('{**}', '');
  if (inner.includes('*')) return 'a * in the middle is literal';
  if (value.length > 1 && value.startsWith('*') && value.endsWith('*'))
    return 'only one * is a wildcard, so the other is literal';
  return list.toLowerCase().endsWith('methods') && value.includes(',')
    ? 'each method must be a separate entry'
    : undefined;
}

/**
 * Reports request principals whose subject contains a slash. The format is issuer, slash, subject, and Istio splits it
 * at the last slash.
 */
const subjectWithSlash: Rule = {
  code: 'MP307',
  name: 'subject-with-slash',
  severity: 'error',
  title: 'A request principal has a / in its subject, and Istio splits at the last one',
  fix: 'Match the claims individually: `when: [{key: request.auth.claims[iss], ...}, {key: request.auth.claims[sub], ...}]`.',
  *check(context) {
    const issuers = new Set(jwtRules(context).map(({ value }) => value.issuer ?? ''));
    for (const { on, list, value, path } of sourceEntries(context)) {
      const why = /^(?:not)?requestPrincipals$/i.test(list) ? whySplit(value, issuers) : undefined;
      if (why) yield { on, path, message: `${JSON.stringify(value)} never matches: ${why}.` };
    }
  },
};

function whySplit(principal: string, issuers: ReadonlySet<string>): string | undefined {
  if (principal.startsWith('*') || principal.endsWith('*')) return undefined;
  const slash = principal.lastIndexOf('/');
  if (slash < 0) return 'it has no subject; write ISSUER/SUBJECT, or ISSUER/*';
  const issuer = principal.slice(0, slash);
  if (issuers.has(issuer)) return undefined;
  const known = [...issuers].find((one) => one !== '' && principal.startsWith(`${one}/`));
  if (known === undefined && issuers.size > 0) return undefined;
  const inner =
    known === undefined ? issuer.replace(/^https?:\/\/[^/]+/, '') : principal.slice(known.length + 1, slash);
  // If the issuers are unknown, only subjects that always contain slashes are recognized: those of GitHub Actions and
  // SPIFFE, but not those of Kubernetes.
  if (known === undefined && !/(?:^|\/)(?:repo:|spiffe:)/.test(inner)) return undefined;
  return `Istio reads ${JSON.stringify(issuer)} as the issuer, because it splits at the last /`;
}

/** Reports principals and namespaces in a format that no peer uses. */
const principalFormat: Rule = {
  code: 'MP311',
  name: 'principal-format',
  severity: 'error',
  title: 'A principal or namespace is written in a format that never matches',
  fix: 'Write `TRUST_DOMAIN/ns/NAMESPACE/sa/NAME` for principals, and the bare name for namespaces.',
  check: each(sourceEntries, ({ on, list, value }) => {
    const why = whyNever(list.replace(/^not/, '').toLowerCase(), value);
    if (!why) return undefined;
    const effect =
      (actionOf(on) === 'DENY') !== list.startsWith('not') ? 'It denies no caller' : 'It matches no caller';
    const kind = list === 'namespaces' ? 'namespace' : 'peer';
    return { message: `${JSON.stringify(value)} never matches a ${kind}: ${why}. ${effect}.` };
  }),
};

function whyNever(list: string, value: string): string | undefined {
  if (list === 'principals') {
    if (value.startsWith('spiffe://')) return 'Istio compares without spiffe://';
    if (value.includes('*')) return undefined;
    if (value.startsWith('system:serviceaccount:')) return 'that is the Kubernetes user name of a ServiceAccount';
    if (!/^[^/]+\/ns\/[^/]+\/sa\/[^/]+$/.test(value)) return 'it is not TRUST_DOMAIN/ns/NAMESPACE/sa/NAME';
  }
  if (list === 'namespaces' && value.includes('/')) return 'a namespace cannot contain /';
  if (list === 'serviceaccounts' && (value.startsWith('system:') || value.includes('*')))
    return 'it is NAMESPACE/NAME, without wildcards';
  return undefined;
}

/** Reports methods that are not written in upper case. Methods are case-sensitive, so these never match. */
const methodFormat: Rule = {
  code: 'MP312',
  name: 'method-format',
  severity: 'error',
  title: 'A method is not in upper case and never matches',
  fix: 'Write `GET`.',
  check: each(operationEntries, ({ on, list, value }) => {
    if (!/^(?:not)?methods$/i.test(list) || value === value.toUpperCase()) return undefined;
    const effect = actionOf(on) === 'DENY' && list === 'methods' ? 'is not denied' : 'does not match';
    return { message: `${JSON.stringify(value)} is compared case-sensitively: ${value.toUpperCase()} ${effect}.` };
  }),
};

/** The name of the field that lists denied hosts, for each action. */
const DENIED_HOSTS: Readonly<Record<string, string>> = { DENY: 'hosts', ALLOW: 'notHosts' };

/**
 * Reports hosts that are denied without their port, because the same server also answers if the host includes a port.
 */
const hostPortBypass: Rule = {
  code: 'MP313',
  name: 'host-port-bypass',
  severity: 'warning',
  title: 'A host is denied without its port, and `Host: NAME:PORT` is allowed',
  fix: 'Deny both: `hosts: [example.com, "example.com:*"]`.',
  check: each(operationEntries, ({ on, list, value: host, all }) => {
    if (DENIED_HOSTS[actionOf(on)] !== list) return undefined;
    const covered = /\*$|:\d+$/.test(host) || [`${host}:*`, `${host}*`].some((one) => all.includes(one));
    if (covered) return undefined;
    return {
      message: `a call with the header "Host: ${host.replace('*', 'x')}:80" does not match ${host} and reaches the same server.`,
    };
  }),
};

export const POLICY_VALUE_RULES: readonly Rule[] = [
  unknownCondition,
  notARegex,
  subjectWithSlash,
  principalFormat,
  methodFormat,
  hostPortBypass,
];
