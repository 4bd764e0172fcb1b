/** Decides every case of a suite, and shows every property for all of its calls. */

import { authorize, claimsRequired } from '@meshpass/access';
import {
  type Access,
  ATTESTED_CLAIMS,
  compile,
  type IdentityTokens,
  isOurs,
  type MeshShape,
  meshOf,
  resolveAccess,
  settingsOf,
} from '@meshpass/access/compile';
import { type Attestation, grantNamespace } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import { loadObject, type Mesh, type Resource } from '@meshpass/istio';
import { type Decision, explainDecision } from '../diff/decision.ts';
import type { Endpoint } from '../diff/endpoint.ts';
import type { Call } from '../diff/formula/call.ts';
import { type AnalysisContext, analysisContext } from '../plan/context.ts';
import { type Coverage, coverageOf, type Touched } from './coverage.ts';
import { calls, type Result, show } from './property.ts';
import type { CaseCall, PolicyCase, PolicyProperty, PolicySuite } from './read-suite.ts';

export interface SuiteInput {
  readonly suites: readonly PolicySuite[];
  readonly access: Access;
  /** Services, workloads and policies of the mesh; what Meshpass wrote there is put out of account. */
  readonly cluster: readonly Resource[];
  readonly shape: MeshShape;
  readonly tokens: IdentityTokens;
  /** Why not everything was read that may hold policies: cases that depend on them fail. */
  readonly unread?: string | undefined;
}

/** What became of one case or property. */
export interface Outcome extends Result {
  readonly file: string;
  readonly line: number;
  readonly name: string;
}

export interface SuiteResult {
  readonly outcomes: readonly Outcome[];
  readonly coverage: Coverage;
}

/**
 * Runs the cases and properties of test files against an access file, without a cluster.
 * @throws MeshpassError `access_service_unknown` and others of `compile`; `policy_too_large`
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
 *   ...{ trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local' },
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * const tokens = {
 *   ...{ issuer: 'https://broker.example', audience: 'mesh', header: 'x-meshpass-token' },
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
  const { access, shape, tokens, suites } = input;
  const others = input.cluster.filter((one) => !isOurs(one));
  const mesh = meshOf(others, shape);
  const state = [...others, ...compile(access, mesh, tokens).flatMap((one) => loadObject(one, access.file).resources)];
  const { grants } = resolveAccess(access, mesh);
  const properties = suites.flatMap((suite) => suite.properties);
  const sets = new Map(properties.map((one) => [one, calls(one, access)]));
  const context = analysisContext({
    ...{ before: state, after: state, mesh, tokens },
    grants,
    settings: settingsOf(input.cluster, shape),
    holders: access.grants.map(({ name }) => name),
    also: [...sets.values()],
    unread: input.unread,
  });
  const touched: Touched = { who: new Set(), ports: new Set(), rules: new Set() };
  const bench: Bench = { access, mesh, tokens, context, touched };
  return {
    outcomes: suites.flatMap((suite) => [
      ...suite.cases.map((one) => ({ ...at(one), ...decideCase(one, bench) })),
      ...suite.properties.map((one) => ({ ...at(one), ...show(one, sets.get(one)!, bench) })),
    ]),
    coverage: coverageOf(grants, others, touched),
  };
}

interface Bench {
  readonly access: Access;
  readonly mesh: Mesh;
  readonly tokens: IdentityTokens;
  readonly context: AnalysisContext;
  readonly touched: Touched;
}

function at({ place, name }: PolicyCase | PolicyProperty): Pick<Outcome, 'file' | 'line' | 'name'> {
  return { file: place.file, line: place.line, name };
}

function decideCase(one: PolicyCase, bench: Bench): Result {
  const { context, touched } = bench;
  const endpoints = endpointsAt(context.endpoints, one.call);
  const unknown = context.unknown.find(({ endpoint }) => endpointsAt([endpoint], one.call).length > 0);
  if (endpoints.length === 0 && !unknown) {
    return { passed: false, said: `the mesh has no port ${one.call.service}.${one.call.namespace}:${one.call.port}` };
  }
  if (!unknown && endpoints.every(({ protocol }) => (protocol === 'http') !== (one.call.http !== undefined))) {
    const protocol = endpoints[0]!.protocol.toUpperCase();
    return { passed: false, said: `this port speaks ${protocol}: write the call so` };
  }
  const tries = identities(one, bench);
  if (tries.length === 0) return compareToExpected(one, false, 'nobody grants it anything', []);
  const host = `${one.call.service}.${one.call.namespace}.svc.${bench.mesh.clusterDomain}`;
  const told: string[] = [];
  let undecided: string | undefined;
  for (const { grant, call, who } of tries) {
    if (grant !== undefined && !context.open[1].has(host)) {
      told.push('the mesh gateway does not pass it on');
      continue;
    }
    if (unknown) return unknownResult(one, unknown.reason);
    const verdicts = endpoints.map(({ workload, port, protocol }): Decision => {
      const portPolicy = context.indexes[1].at(workload, port, protocol);
      return grant !== undefined && portPolicy.plain ? NO_MUTUAL_TLS : explainDecision(portPolicy, call);
    });
    const refusal = verdicts.find(({ allowed }) => !allowed);
    const decisive = refusal ?? verdicts[0]!;
    if (decisive.policy) touched.rules.add(`${keyOf(decisive.policy)}#${decisive.rule}`);
    if (!refusal) {
      if (who !== undefined) touched.who.add(who);
      if (grant !== undefined) touched.ports.add(JSON.stringify([grant, one.call]));
      const names = [...(grant === undefined ? [] : [grant]), ...(decisive.policy ? [keyOf(decisive.policy)] : [])];
      return compareToExpected(one, true, decisive.reason, names);
    }
    told.push(refusal.reason);
    undecided ??= refusal.undecided && refusal.reason;
    if (refusal.policy && one.by === keyOf(refusal.policy))
      return compareToExpected(one, false, refusal.reason, [one.by]);
  }
  if (undecided !== undefined) return unknownResult(one, undecided);
  return compareToExpected(one, false, told.join('; '), []);
}

/** Workspaces come by no other way. */
const NO_MUTUAL_TLS: Decision = { allowed: false, reason: 'the port takes no mutual TLS' };

function unknownResult({ expect }: PolicyCase, reason: string): Result {
  return { passed: false, said: `expected to be ${expect}, and it is unknown: ${reason}` };
}

function compareToExpected(
  { expect, by }: PolicyCase,
  allowed: boolean,
  reason: string,
  names: readonly string[],
): Result {
  const verdict = allowed ? 'allowed' : 'refused';
  if (verdict !== expect) return { passed: false, said: `expected to be ${expect}, and it is ${verdict}: ${reason}` };
  if (by !== undefined && !names.includes(by))
    return { passed: false, said: `it is ${verdict}, but not by ${by}: ${reason}` };
  return { passed: true, said: `${verdict}: ${reason}` };
}

interface Identity {
  readonly call: Call;
  readonly grant?: string;
  /** Place of the entry of `who`. */
  readonly who?: string;
}

/** As whom the caller may come: a workspace once for each of its grants. */
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
      const decision = authorize(attestationOf(who), bench.access, who.at);
      return decision.grants.map(({ grant, reason }) => ({
        ...{ grant: grant.name, call: ofHolder(one, bench, grant.name, who.claims) },
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
  const host = `${call.service}.${call.namespace}.svc.${mesh.clusterDomain}`;
  const texts = new Map<string, string>(
    Object.entries(headers).map(([name, value]) => [`header:${name.toLowerCase()}`, value]),
  );
  if (peer) {
    texts.set('peer.namespace', peer.namespace).set('peer.account', peer.account);
    texts.set('peer.trustDomain', mesh.trustDomain).set('connection.sni', `outbound_.${call.port}_._.${host}`);
  }
  if (call.http) {
    const path = call.http.path.split('?')[0]!;
    texts.set('method', call.http.method).set('path', path).set('host', `${host}:${call.port}`);
  }
  return { flags: new Set(peer ? ['peer'] : []), texts, lists: new Map(), addresses: new Map() };
}

function attestationOf(who: Extract<PolicyCase['who'], { kind: 'proof' }>): Attestation {
  const { issuer, login, teams, roles, repository, ref, claims } = who;
  const isGithub = issuer === 'github';
  return {
    ...{ attestor: isGithub ? 'github-codespace' : 'oidc', issuer, subject: `${issuer}:case`, login: login ?? 'case' },
    ...(login !== undefined && { githubUser: { id: 1, login } }),
    ...{ teams, organizationRoles: roles, claims, proofHash: sha256Hex('case') },
    workspace: {
      ...{ kind: isGithub ? 'codespace' : repository ? 'actions' : 'other', key: 'case', name: 'case' },
      ...(repository !== undefined && { repository: { id: 1, fullName: repository, ownerId: 1 } }),
      ...(ref !== undefined && { ref }),
    },
  };
}

function endpointsAt(endpoints: readonly Endpoint[], { service, namespace, port }: CaseCall): readonly Endpoint[] {
  return endpoints.filter(({ services }) => services.includes(`${service}.${namespace}:${port}`));
}

function keyOf({ metadata }: Pick<Resource, 'metadata'>): string {
  return `${metadata.namespace}/${metadata.name}`;
}
