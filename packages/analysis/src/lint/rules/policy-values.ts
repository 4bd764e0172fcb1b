/** Rules about individual AuthorizationPolicy values that never match as written. */
import { didYouMean } from '@meshpass/istio';
import { texts } from '@meshpass/istio/members';
import { conditionsOf, entriesOf, jwtRules, operationsOf, policyRules, sourcesOf } from '../places.ts';
import type { Rule } from '../rule.ts';

const KEYS = [
  ...['source.ip', 'remote.ip', 'source.namespace', 'source.serviceAccount', 'source.principal', 'source.trustDomain'],
  ...['request.auth.principal', 'request.auth.audiences', 'request.auth.presenter'],
  ...['destination.ip', 'destination.port', 'connection.sni'],
];
const KEYED = ['request.headers', 'request.auth.claims', 'experimental.envoy.filters.'];

/** Istio drops a rule with an unknown condition. Source: pilot/pkg/security/authz/model/model.go. */
const unknownCondition: Rule = {
  code: 'MP301',
  name: 'unknown-condition',
  severity: 'error',
  title: 'A condition has a key that Istio does not know, so the whole rule is ignored',
  fix: 'Use a key from https://istio.io/latest/docs/reference/config/security/conditions/.',
  *check(context) {
    for (const { policy, action, value, path } of policyRules(context).flatMap(conditionsOf)) {
      const key = String(value.key ?? '');
      const keyed = KEYED.find((one) => key.startsWith(one));
      if (KEYS.includes(key) || (keyed && /^[^[\]]+\[[^[\]]+\](?:\[[^[\]]+\])*$/.test(key))) continue;
      const effect = action === 'DENY' ? 'what it should deny is allowed' : 'what it should allow is not';
      const hint = keyed
        ? ` (write ${keyed.replace(/\.$/, '.x')}[NAME])`
        : didYouMean(key, [...KEYS, ...KEYED.slice(0, 2)]);
      yield {
        on: policy,
        path: [...path, 'key'],
        message: `Istio does not know the key ${JSON.stringify(key)}${hint}. It ignores the whole rule: ${effect}.`,
      };
    }
  },
};

const LISTS = /^(?:not)?(?:paths|hosts|methods|principals|requestPrincipals|namespaces|serviceAccounts)$/i;

/** Istio compares text: exact, or with one `*` at an end. */
const notARegex: Rule = {
  code: 'MP306',
  name: 'not-a-regex',
  severity: 'error',
  title: 'A value looks like a regular expression or has * in the middle, and is compared as text',
  fix: 'Use an exact value, `prefix*`, `*suffix`, or for paths the templates `{*}` (one segment) and `{**}` (the rest).',
  *check(context) {
    for (const rule of policyRules(context)) {
      const listed = [...sourcesOf(rule), ...operationsOf(rule)]
        .flatMap(entriesOf)
        .filter(({ list }) => LISTS.test(list));
      const compared = conditionsOf(rule).flatMap(({ value, path }) =>
        (['values', 'notValues'] as const).flatMap((list) =>
          texts(value[list]).map((text, index) => ({ list: String(value.key), text, path: [...path, list, index] })),
        ),
      );
      const effect =
        rule.action === 'DENY' ? 'so it does not deny the intended calls' : 'so the intended calls do not match';
      for (const { list, text, path } of [...listed, ...compared]) {
        const why = whyRegex(text, list);
        if (why)
          yield { on: rule.policy, path, message: `${JSON.stringify(text)} is compared as text: ${why}, ${effect}.` };
      }
    }
  },
};

/** Prefix of a port's server names for any subset: `outbound_.8080_.*`, whose last dot is literal. */
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

/** `requestPrincipals` is issuer, slash, subject. Istio splits at the last slash. */
const subjectWithSlash: Rule = {
  code: 'MP307',
  name: 'subject-with-slash',
  severity: 'error',
  title: 'A request principal has a / in its subject, and Istio splits at the last one',
  fix: 'Match the claims individually: `when: [{key: request.auth.claims[iss], ...}, {key: request.auth.claims[sub], ...}]`.',
  *check(context) {
    const issuers = new Set(jwtRules(context).map(({ rule }) => rule.issuer ?? ''));
    for (const { policy, list, text, path } of policyRules(context).flatMap(sourcesOf).flatMap(entriesOf)) {
      const why = /^(?:not)?requestPrincipals$/i.test(list) ? whySplit(text, issuers) : undefined;
      if (why) yield { on: policy, path, message: `${JSON.stringify(text)} never matches: ${why}.` };
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
  // Without known issuers, recognizes subjects that contain slashes: GitHub Actions and SPIFFE, but not Kubernetes.
  if (known === undefined && !/(?:^|\/)(?:repo:|spiffe:)/.test(inner)) return undefined;
  return `Istio reads ${JSON.stringify(issuer)} as the issuer, because it splits at the last /`;
}

/** A principal or namespace has a format that no peer has. */
const principalFormat: Rule = {
  code: 'MP311',
  name: 'principal-format',
  severity: 'error',
  title: 'A principal or namespace is written in a format that never matches',
  fix: 'Write `TRUST_DOMAIN/ns/NAMESPACE/sa/NAME` for principals, and the bare name for namespaces.',
  *check(context) {
    for (const { policy, action, list, text, path } of policyRules(context).flatMap(sourcesOf).flatMap(entriesOf)) {
      const why = whyNever(list.replace(/^not/, '').toLowerCase(), text);
      if (!why) continue;
      const passes = (action === 'DENY') !== list.startsWith('not');
      yield {
        on: policy,
        path,
        message: `${JSON.stringify(text)} never matches a ${list === 'namespaces' ? 'namespace' : 'peer'}: ${why}. ${passes ? 'It denies no caller' : 'It matches no caller'}.`,
      };
    }
  },
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

/** Methods are case-sensitive. */
const methodFormat: Rule = {
  code: 'MP312',
  name: 'method-format',
  severity: 'error',
  title: 'A method is not in upper case and never matches',
  fix: 'Write `GET`.',
  *check(context) {
    for (const { policy, action, list, text, path } of policyRules(context).flatMap(operationsOf).flatMap(entriesOf)) {
      if (!/^(?:not)?methods$/i.test(list) || text === text.toUpperCase()) continue;
      const effect = action === 'DENY' && list === 'methods' ? 'is not denied' : 'does not match';
      yield {
        on: policy,
        path,
        message: `${JSON.stringify(text)} is compared case-sensitively: ${text.toUpperCase()} ${effect}.`,
      };
    }
  },
};

/** A host is denied, but the same server also answers to the host with a port. */
const hostPortBypass: Rule = {
  code: 'MP313',
  name: 'host-port-bypass',
  severity: 'warning',
  title: 'A host is denied without its port, and `Host: NAME:PORT` is allowed',
  fix: 'Deny both: `hosts: [example.com, "example.com:*"]`.',
  *check(context) {
    for (const { policy, action, value, path } of policyRules(context).flatMap(operationsOf)) {
      const list = action === 'DENY' ? 'hosts' : 'notHosts';
      const hosts = action === 'DENY' || action === 'ALLOW' ? texts(value[list]) : [];
      for (const [index, host] of hosts.entries()) {
        const covered = /\*$|:\d+$/.test(host) || [`${host}:*`, `${host}*`].some((one) => hosts.includes(one));
        if (covered) continue;
        yield {
          on: policy,
          path: [...path, list, index],
          message: `a call with the header "Host: ${host.replace('*', 'x')}:80" does not match ${host} and reaches the same server.`,
        };
      }
    }
  },
};

export const POLICY_VALUE_RULES: readonly Rule[] = [
  unknownCondition,
  notARegex,
  subjectWithSlash,
  principalFormat,
  methodFormat,
  hostPortBypass,
];
