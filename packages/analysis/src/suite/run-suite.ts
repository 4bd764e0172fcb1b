/** Decides each case of a test suite, and proves each property for all of the calls that it covers. */

import { authorize, claimsRequired } from '@meshpass/access';
import {
  type Access,
  ATTESTED_CLAIMS,
  type IdentityTokens,
  isOurs,
  type MeshShape,
  resolveAccess,
  settingsOf,
} from '@meshpass/access/compile';
import { type Attestation, grantNamespace } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import type { Mesh, Resource } from '@meshpass/istio';
import { type Decision, explainDecision } from '../diff/decision.ts';
import type { Endpoint } from '../diff/endpoint.ts';
import type { Call } from '../diff/formula/call.ts';
import { AMBIENT_NOT_GRANTABLE } from '../evaluate/grantable.ts';
import { applyAccess } from '../evaluate/grants-that-can.ts';
import { callerProxy } from '../evaluate/ways.ts';
import { type AnalysisContext, analysisContext, serverOf } from '../plan/context.ts';
import { type Coverage, type CoveredElements, computeCoverage } from './coverage.ts';
import { type CaseOutcome, propertyCalls, show } from './property.ts';
import type { CaseCall, PolicyCase, PolicyProperty, PolicySuite } from './read-suite.ts';

export interface SuiteInput {
  readonly suites: readonly PolicySuite[];
  readonly access: Access;
  /** The Services, workloads and policies in the mesh. Objects created by Meshpass are ignored. */
  readonly cluster: readonly Resource[];
  readonly shape: MeshShape;
  readonly tokens: IdentityTokens;
  /** The reason why some policies may not have been read, if any. Cases that depend on those policies fail. */
  readonly unread?: string | undefined;
}

/** The outcome of a single case or property. */
export interface Outcome extends CaseOutcome {
  readonly file: string;
  readonly line: number;
  readonly name: string;
}

export interface SuiteResult {
  readonly outcomes: readonly Outcome[];
  readonly coverage: Coverage;
}

/**
 * Runs the cases and properties in test files against an access file. Does not require a cluster.
 * @throws MeshpassError `access_service_unknown` and other codes of `compile`; `policy_too_large`
 * @example
 * ```ts
 * import { parseAccess } from '@meshpass/access';
 * import { readSuite, runSuites } from '@meshpass/analysis/suite';
 * import { loadManifests } from '@meshpass/istio';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}]}`, 'access.yaml');
 * const shape = {
 *   trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local',
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * const tokens = {
 *   issuer: 'https://broker.example', audience: 'mesh', header: 'x-meshpass-token',
 *   jwks: '{"keys":[{"kty":"RSA","kid":"1","n":"AQAB","e":"AQAB"}]}',
 * };
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const suite = readSuite(`
 * cases:
 *   - name: the developer may read orders
 *     who: {grant: dev}
 *     call: GET orders.shop:80/orders
 *     expect: allowed`, 'policy-test.yaml');
 * const cluster = loadManifests(orders, 'cluster.yaml').resources;
 * const { outcomes } = runSuites({ suites: [suite], access, cluster, shape, tokens });
 * outcomes.map(({ passed }) => passed); // => [true]
 * ```
 */
export function runSuites(input: SuiteInput): SuiteResult {
  const { access, cluster, shape, tokens, suites } = input;
  const { resources: state, mesh } = applyAccess(access, cluster, shape, tokens);
  const { grants } = resolveAccess(access, mesh);
  const properties = suites.flatMap((suite) => suite.properties);
  const sets = new Map(properties.map((one) => [one, propertyCalls(one, access)]));
  const context = analysisContext({
    before: state,
    after: state,
    mesh,
    tokens,
    grants,
    settings: settingsOf(cluster, shape),
    holders: access.grants.map(({ name }) => name),
    also: [...sets.values()],
    unread: input.unread,
  });
  const touched: CoveredElements = { who: new Set(), ports: new Set(), rules: new Set() };
  const bench: Bench = { access, mesh, tokens, context, touched };
  return {
    outcomes: suites.flatMap((suite) => [
      ...suite.cases.map((one) => ({ ...at(one), ...decideCase(one, bench) })),
      ...suite.properties.map((one) => ({ ...at(one), ...show(one, sets.get(one)!, bench) })),
    ]),
    coverage: computeCoverage(
      grants,
      cluster.filter((one) => !isOurs(one)),
      touched,
    ),
  };
}

interface Bench {
  readonly access: Access;
  readonly mesh: Mesh;
  readonly tokens: IdentityTokens;
  readonly context: AnalysisContext;
  readonly touched: CoveredElements;
}

function at({ place, name }: PolicyCase | PolicyProperty): Pick<Outcome, 'file' | 'line' | 'name'> {
  return { file: place.file, line: place.line, name };
}

function decideCase(one: PolicyCase, bench: Bench): CaseOutcome {
  const { context } = bench;
  const endpoints = endpointsAt(context.endpoints, one.call);
  const unknown = whyUnknown(one, context);
  const impossible = whyImpossible(one, endpoints);
  if (impossible && !unknown) return { passed: false, said: impossible };
  const tries = identities(one, bench);
  if (tries.length === 0) return compareToExpected(one, false, 'no grant applies to it', []);
  const { host } = serverOf(nameOf(one.call), bench.mesh.clusterDomain);
  const told: string[] = [];
  let undecided: string | undefined;
  for (const identity of tries) {
    if (identity.grant !== undefined && !context.open[1].has(host)) {
      told.push('the mesh gateway does not forward it');
      continue;
    }
    const verdict = decideIdentity(identity, one, unknown, bench);
    if (typeof verdict === 'string') return unknownResult(one, verdict);
    const { allowed, reason, names, undecided: isUndecided } = verdict;
    if (allowed) return compareToExpected(one, true, reason, [...touch(identity, one, bench), ...names]);
    told.push(reason);
    undecided ??= isUndecided && reason;
    if (names.some((name) => name === one.by)) return compareToExpected(one, false, reason, names);
  }
  if (undecided !== undefined) return unknownResult(one, undecided);
  return compareToExpected(one, false, told.join('; '), []);
}

/**
 * Explains why the result of a call to one of these ports is unknown. Ambient mode is only reported if there is no
 * other reason, because some calls to ports in ambient mode can still be decided.
 */
function whyUnknown({ call }: PolicyCase, { unknown }: AnalysisContext): string | undefined {
  const reasons = unknown.flatMap(({ endpoint, reason }) => (endpointsAt([endpoint], call).length > 0 ? [reason] : []));
  return reasons.find((reason) => reason !== AMBIENT_NOT_GRANTABLE) ?? reasons[0];
}

type Verdict = Decision & { readonly names: readonly string[] };

/** Decides the call for one of the caller's identities, or explains why the result is unknown. */
function decideIdentity(
  identity: Identity,
  one: PolicyCase,
  unknown: string | undefined,
  bench: Bench,
): Verdict | string {
  if (unknown === undefined) return decideAs(identity, endpointsAt(bench.context.endpoints, one.call), bench);
  return unknown === AMBIENT_NOT_GRANTABLE && identity.grant === undefined
    ? decideInAmbient(identity, one, bench)
    : unknown;
}

function whyImpossible({ call }: PolicyCase, endpoints: readonly Endpoint[]): string | undefined {
  if (endpoints.length === 0) return `the mesh has no port ${nameOf(call)}`;
  return endpoints.every(({ protocol }) => (protocol === 'http') !== (call.http !== undefined))
    ? `this port speaks ${endpoints[0]!.protocol.toUpperCase()}: write the call accordingly`
    : undefined;
}

/**
 * Decides a call to ports in ambient mode that comes from a workload or from outside the mesh. The call goes through
 * the waypoint if the caller is also in ambient mode.
 */
function decideInAmbient(identity: Identity, { call }: PolicyCase, bench: Bench): Verdict | string {
  const { context } = bench;
  const others = endpointsAt(context.endpoints, call);
  const endpoints = endpointsAt(
    context.unknown.map(({ endpoint }) => endpoint),
    call,
  );
  const through = endpoints.filter((one) => one.through);
  const direct = endpoints.filter((one) => !one.through);
  const { texts, flags } = identity.call;
  const proxy = callerProxy(
    context.indexes[1].view,
    `${bench.mesh.trustDomain}/ns/${texts.get('peer.namespace')}/sa/${texts.get('peer.account')}`,
  );
  const straight = decideAs(identity, [...others, ...direct], bench);
  if (through.length === 0 || !flags.has('peer') || proxy === 'sidecar') return straight;
  const byWaypoint = decideAs(identity, [...others, ...through], bench);
  return proxy === 'ambient' || byWaypoint.allowed === straight.allowed ? byWaypoint : OTHER_WAY;
}

const OTHER_WAY = 'the caller may be in ambient mode or not, and the waypoint decides differently';

/**
 * Returns the first decision that rejects the call. If no endpoint rejects it, returns the decision of the first
 * endpoint. Also records the deciding rule in `touched`.
 */
function decideAs({ grant, call }: Identity, endpoints: readonly Endpoint[], { context, touched }: Bench): Verdict {
  const verdicts = endpoints.map(({ workload, port, protocol, through }): Decision => {
    const portPolicy = context.indexes[1].at(workload, port, protocol, through);
    return grant !== undefined && portPolicy.plain ? NO_MUTUAL_TLS : explainDecision(portPolicy, call);
  });
  const decisive = verdicts.find(({ allowed }) => !allowed) ?? verdicts[0]!;
  const names = decisive.policy ? [keyOf(decisive.policy)] : [];
  for (const name of names) touched.rules.add(`${name}#${decisive.rule}`);
  return { ...decisive, names };
}

/** Records which `who` entry and which port let an identity in. Returns the name of its grant, if it has one. */
function touch({ grant, who }: Identity, { call }: PolicyCase, { touched }: Bench): readonly string[] {
  if (who !== undefined) touched.who.add(who);
  if (grant === undefined) return [];
  touched.ports.add(JSON.stringify([grant, call]));
  return [grant];
}

/**
 * The decision for workspaces at ports that disable mutual TLS. Workspaces always use mutual TLS, so they are rejected.
 */
const NO_MUTUAL_TLS: Decision = { allowed: false, reason: 'the port disables mutual TLS' };

function unknownResult({ expect }: PolicyCase, reason: string): CaseOutcome {
  return { passed: false, said: `expected to be ${expect}, but it is unknown: ${reason}` };
}

function compareToExpected(
  { expect, by }: PolicyCase,
  allowed: boolean,
  reason: string,
  names: readonly string[],
): CaseOutcome {
  const verdict = allowed ? 'allowed' : 'refused';
  if (verdict !== expect) return { passed: false, said: `expected to be ${expect}, but it is ${verdict}: ${reason}` };
  if (by !== undefined && !names.includes(by))
    return { passed: false, said: `it is ${verdict}, but not by ${by}: ${reason}` };
  return { passed: true, said: `${verdict}: ${reason}` };
}

interface Identity {
  readonly call: Call;
  readonly grant?: string;
  /** The position of the `who` entry that admits this identity. */
  readonly who?: string;
}

/** Lists the identities that a test case's caller can use. A workspace has one for each of its grants. */
function identities(one: PolicyCase, bench: Bench): readonly Identity[] {
  const { who } = one;
  switch (who.kind) {
    case 'plain':
      return [{ call: callOf(one, bench, undefined) }];
    case 'workload':
      return [{ call: callOf(one, bench, who) }];
    case 'grant':
      return [{ grant: who.grant, call: ofHolder(one, bench, who.grant) }];
    case 'proof': {
      const decision = authorize(attestationOf(who, bench.access), bench.access, who.at);
      return decision.grants.map(({ grant, reason }) => ({
        grant: grant.name,
        call: ofHolder(one, bench, grant.name, who.claims),
        ...(/^\S+:\d+:\d+ /.test(reason) && { who: reason.slice(0, reason.indexOf(' ')) }),
      }));
    }
  }
}

function ofHolder(one: PolicyCase, bench: Bench, grant: string, claims: Readonly<Record<string, unknown>> = {}): Call {
  const call = callOf(one, bench, { namespace: grantNamespace(grant), account: 'case' });
  if (one.tokenless || !one.call.http) return call;
  const texts = new Map([...call.texts, ['token.issuer', bench.tokens.issuer], ['token.subject', 'case']]);
  return {
    ...call,
    texts,
    lists: new Map([
      ['token.claim:aud', [bench.tokens.audience]],
      ['token.claim:grants', [grant]],
      ...Object.entries(claimsRequired(bench.access, [grant], claims)).map(
        ([name, values]) => [`token.claim:${ATTESTED_CLAIMS}][${name}`, values] as const,
      ),
    ]),
  };
}

function callOf(
  { call, headers }: PolicyCase,
  { mesh }: Bench,
  peer: { readonly namespace: string; readonly account: string } | undefined,
): Call {
  const { host, sni } = serverOf(nameOf(call), mesh.clusterDomain);
  const texts = new Map<string, string>(
    Object.entries(headers).map(([name, value]) => [`header:${name.toLowerCase()}`, value]),
  );
  if (peer) {
    texts.set('peer.namespace', peer.namespace).set('peer.account', peer.account);
    texts.set('peer.trustDomain', mesh.trustDomain).set('connection.sni', sni);
  }
  if (call.http) {
    const path = call.http.path.split('?')[0]!;
    texts.set('method', call.http.method).set('path', path).set('host', `${host}:${call.port}`);
  }
  return { flags: new Set(peer ? ['peer'] : []), texts, lists: new Map(), addresses: new Map() };
}

/** Builds an attestation that the access file trusts, using the issuer and audience of an entry in `trust.issuers`. */
function attestationOf(who: Extract<PolicyCase['who'], { kind: 'proof' }>, { trust }: Access): Attestation {
  const { issuer, login, teams, roles, repository, ref } = who;
  const isGithub = issuer === 'github';
  const trusted = trust.issuers.find(({ name }) => name === issuer);
  const claims = { ...(trusted && { iss: trusted.issuer, aud: trusted.audience }), ...who.claims };
  const isGithubUser = isGithub || trusted?.kind === 'actions';
  return {
    attestor: isGithub ? 'github-codespace' : 'oidc',
    issuer,
    subject: `${issuer}:case`,
    login: login ?? 'case',
    ...(login !== undefined && isGithubUser && { githubUser: { id: 1, login } }),
    teams,
    organizationRoles: roles,
    claims,
    proofHash: sha256Hex('case'),
    workspace: {
      kind: isGithub ? 'codespace' : repository ? 'actions' : 'other',
      key: 'case',
      name: 'case',
      ...(repository !== undefined && { repository: { id: 1, fullName: repository, ownerId: 1 } }),
      ...(ref !== undefined && { ref }),
    },
  };
}

function endpointsAt(endpoints: readonly Endpoint[], call: CaseCall): readonly Endpoint[] {
  return endpoints.filter(({ services }) => services.includes(nameOf(call)));
}

/** Formats a Service and its port in the same way as the entries of `Endpoint.services`. */
function nameOf({ service, namespace, port }: CaseCall): string {
  return `${service}.${namespace}:${port}`;
}

function keyOf({ metadata }: Pick<Resource, 'metadata'>): string {
  return `${metadata.namespace}/${metadata.name}`;
}
