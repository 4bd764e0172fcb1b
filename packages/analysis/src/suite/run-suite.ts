/** Decides each case of a test suite, and proves each property for all of the calls that it covers. */

import { authorize, claimsRequired } from '@meshpass/access';
import {
  type Access,
  type IdentityTokens,
  isOurs,
  type MeshShape,
  resolveAccess,
  settingsOf,
} from '@meshpass/access/compile';
import { type Attestation, sha256Hex } from '@meshpass/identity';
import { findMeshConfig, type Mesh, type MeshView, type Resource, viewMesh } from '@meshpass/istio';
import { serviceOf } from '../diff/policy-index.ts';
import { type Caller, callOf } from '../evaluate/caller.ts';
import { whyNotGrantable } from '../evaluate/grantable.ts';
import { applyAccess, holderOf } from '../evaluate/grants-that-can.ts';
import { type Endpoint, findEndpoints } from '../evaluate/target.ts';
import { describeDecision, evaluate } from '../evaluate/verdict.ts';
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
  const { rootNamespace, trustDomain } = shape;
  const view = viewMesh(state, { ...findMeshConfig(cluster), rootNamespace, trustDomain }, input.unread);
  const bench: Bench = { access, mesh, view, tokens, context, touched };
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
  /** The mesh after the access file has been applied. */
  readonly view: MeshView;
  readonly tokens: IdentityTokens;
  readonly context: AnalysisContext;
  readonly touched: CoveredElements;
}

function at({ place, name }: PolicyCase | PolicyProperty): Pick<Outcome, 'file' | 'line' | 'name'> {
  return { file: place.file, line: place.line, name };
}

function decideCase(one: PolicyCase, bench: Bench): CaseOutcome {
  const endpoints = endpointsAt(one.call, bench.view);
  const impossible = whyImpossible(one.call, endpoints);
  if (impossible !== undefined) return { passed: false, said: impossible };
  const tries = identities(one, bench);
  if (tries.length === 0) return compareToExpected(one, false, 'no grant applies to it', []);
  const { host } = serverOf(nameOf(one.call), bench.mesh.clusterDomain);
  const told: string[] = [];
  const refusing: string[] = [];
  let unknown: string | undefined;
  for (const identity of tries) {
    if (identity.grant !== undefined && !bench.context.open[1].has(host)) {
      told.push('the mesh gateway does not forward it');
      continue;
    }
    const verdict = decideAs(identity, one, endpoints, bench);
    if ('unknown' in verdict) {
      unknown ??= verdict.unknown;
      continue;
    }
    const { allowed, reason, names } = verdict;
    if (allowed) return compareToExpected(one, true, reason, [...touch(identity, one, bench), ...names]);
    told.push(reason);
    refusing.push(...names);
  }
  if (unknown !== undefined)
    return { passed: false, said: `expected to be ${one.expect}, but it is unknown: ${unknown}` };
  return compareToExpected(one, false, told.join('; '), refusing);
}

/** Finds the workloads behind a Service port. The list is empty if the mesh has no such port. */
function endpointsAt(call: CaseCall, view: MeshView): readonly Endpoint[] {
  const service = serviceOf(view, { namespace: call.namespace, name: call.service });
  return service?.spec.ports?.some(({ port }) => port === call.port) ? findEndpoints(view, nameOf(call)) : [];
}

function whyImpossible(call: CaseCall, endpoints: readonly Endpoint[]): string | undefined {
  if (endpoints.length === 0) return `the mesh has no port ${nameOf(call)}`;
  const other = call.http ? 'tcp' : 'http';
  // A ztunnel does not parse the protocol that the port speaks.
  const isOther = ({ proxy, authorizer, port, unknown }: Endpoint) =>
    unknown === undefined && proxy === 'sidecar' && authorizer.protocolOf(port) === other;
  return endpoints.every(isOther) ? `this port speaks ${other.toUpperCase()}: write the call accordingly` : undefined;
}

type CaseVerdict =
  | { readonly allowed: boolean; readonly reason: string; readonly names: readonly string[] }
  | { readonly unknown: string };

/**
 * Decides the call for one of the caller's identities. The first endpoint that rejects the call decides. If no endpoint
 * rejects it, the first one decides. Also records the deciding rule in `touched`.
 */
function decideAs(
  { grant, caller }: Identity,
  { call, headers }: PolicyCase,
  endpoints: readonly Endpoint[],
  { view, mesh, touched }: Bench,
): CaseVerdict {
  const { host, sni } = serverOf(nameOf(call), mesh.clusterDomain);
  const lower = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
  const http = call.http && { ...call.http, authority: `${host}:${call.port}`, headers: lower };
  const outcomes = endpoints.map((endpoint) => {
    const { workload, peerMode } = endpoint.authorizer;
    const connection = caller.principal === undefined ? {} : { sni };
    const { unknown, decision } = evaluate(endpoint, callOf(endpoint, caller, http, connection));
    const ungrantable = grant === undefined ? undefined : whyNotGrantable(view, workload);
    const at = decision.at === undefined ? '' : `at ${decision.at}: `;
    // Workspaces always use mutual TLS.
    const isClosed = grant !== undefined && peerMode(endpoint.port).mode === 'DISABLE';
    return {
      unknown: endpoint.unknown ?? ungrantable ?? unknown,
      allowed: decision.allowed && !isClosed,
      reason: isClosed ? 'the port disables mutual TLS' : at + describeDecision(decision),
      rule: isClosed ? undefined : decision.rule,
    };
  });
  const unknown = outcomes.find((one) => one.unknown !== undefined)?.unknown;
  if (unknown !== undefined) return { unknown };
  const { allowed, reason, rule } = outcomes.find((one) => !one.allowed) ?? outcomes[0]!;
  const isNamed = rule?.kind === 'AuthorizationPolicy' && rule.rule !== undefined;
  const names = isNamed ? [`${rule.namespace}/${rule.name}`] : [];
  for (const name of names) touched.rules.add(`${name}#${rule!.rule}`);
  return { allowed, reason, names };
}

/** Records which `who` entry and which port let an identity in. Returns the name of its grant, if it has one. */
function touch({ grant, who }: Identity, { call }: PolicyCase, { touched }: Bench): readonly string[] {
  if (who !== undefined) touched.who.add(who);
  if (grant === undefined) return [];
  touched.ports.add(JSON.stringify([grant, call]));
  return [grant];
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
  readonly caller: Caller;
  readonly grant?: string;
  /** The position of the `who` entry that admits this identity. */
  readonly who?: string;
}

/** Lists the identities that a test case's caller can use. A workspace has one for each of its grants. */
function identities({ who, tokenless }: PolicyCase, { access, mesh, tokens }: Bench): readonly Identity[] {
  const ofHolder = (grant: string, attested: Readonly<Record<string, unknown>>): Identity => {
    const holder = holderOf(grant, mesh, tokens, claimsRequired(access, [grant], attested));
    return { grant, caller: tokenless ? { principal: holder.principal } : holder };
  };
  switch (who.kind) {
    case 'plain':
      return [{ caller: {} }];
    case 'workload':
      return [{ caller: { principal: `${mesh.trustDomain}/ns/${who.namespace}/sa/${who.account}` } }];
    case 'grant':
      return [ofHolder(who.grant, {})];
    case 'proof': {
      const decision = authorize(attestationOf(who, access), access, who.at);
      return decision.grants.map(({ grant, reason }) => ({
        ...ofHolder(grant.name, who.claims),
        ...(/^\S+:\d+:\d+ /.test(reason) && { who: reason.slice(0, reason.indexOf(' ')) }),
      }));
    }
  }
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

/** Formats a Service and its port in the same way as the entries of `Endpoint.services`. */
function nameOf({ service, namespace, port }: CaseCall): string {
  return `${service}.${namespace}:${port}`;
}
