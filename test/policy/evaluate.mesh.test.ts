/**
 * The evaluator against the real thing: generated policies go through istiod to Envoy, generated calls are made at it, and
 * every verdict must be the evaluator's. `npm run differential` makes ten thousand of them.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Authorizer, Call, Decision } from '@meshpass/analysis/evaluate';
import { DEFAULT_MESH_CONFIG, type PathNormalization } from '@meshpass/istio';
import { upLab } from '@meshpass/lab';
import type { KubeObject } from '@meshpass/lab/kubernetes';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import type { Seen } from './differential/caller.ts';
import { generateCall, PATHS, PEERS } from './differential/generate-calls.ts';
import {
  authorizationPolicy,
  NAMESPACE,
  peerAuthentication,
  requestAuthentication,
} from './differential/generate-policies.ts';
import { type Harness, LATER, openHarness } from './differential/harness.ts';
import { type Random, randomFrom } from './differential/random.ts';
import { PORTS } from './differential/target.ts';
import { type Before, threeWay } from './differential/three-way.ts';

const ROUNDS = Number(process.env.MESHPASS_DIFFERENTIAL_ROUNDS ?? 12);
const CALLS = Number(process.env.MESHPASS_DIFFERENTIAL_CALLS ?? 120);
/** Calls of the round before that are made again, so that a change is seen. */
const REPEATED = 30;
const SEED = Number(process.env.MESHPASS_DIFFERENTIAL_SEED ?? 20261124);

let lab: Awaited<ReturnType<typeof upLab>>;
let harness: Harness;

beforeAll(async () => {
  lab = await upLab();
  harness = await openHarness(lab, [FORMER]);
});
afterAll(async () => {
  await harness?.close();
  await lab?.down();
});

const CLIENT = PEERS[0];
/** Identity in a trust domain alias of the mesh, if it has aliases. */
const FORMER = 'old.example/ns/shop/sa/client';

describe('the configuration of the mesh', () => {
  afterAll(() => configure({}));

  it.each<[PathNormalization, string]>([
    ['NONE', '"normalize_path":false'],
    ['MERGE_SLASHES', '"merge_slashes":true'],
    ['DECODE_AND_MERGE_SLASHES', 'UNESCAPE_AND_FORWARD'],
  ])('paths are normalised as %s', async (pathNormalization, sign) => {
    configure({ pathNormalization: { normalization: pathNormalization } });
    const to = [{ operation: { paths: ['/', '/a/b', '/a/*', '*/b', '/b/{*}', '/a.txt', '/a/{*}/c'] } }];
    const policy = policyOf({ action: 'ALLOW', rules: [{ to }] });
    const { authorizer } = await harness.enforce([policy], { ...DEFAULT_MESH_CONFIG, pathNormalization }, [sign]);
    const disagreements = await disagreeing(
      authorizer,
      PATHS.map((path) => requestOf(CLIENT, path)),
    );
    expect(disagreements.length, report(0, disagreements, [policy])).toBe(0);
  });

  it('trust domains have aliases', async () => {
    configure({ trustDomainAliases: ['old.example'] });
    const config = { ...DEFAULT_MESH_CONFIG, trustDomainAliases: ['old.example'] };
    for (const source of [
      { principals: [CLIENT] },
      { principals: [FORMER] },
      { principals: ['*.local/ns/shop/sa/client'] },
      { principals: ['other.example/ns/shop/sa/client'] },
      { notPrincipals: [CLIENT] },
      { trustDomains: ['cluster.local'] },
      { notTrustDomains: ['old.example'] },
      { namespaces: ['shop'] },
    ]) {
      const policy = policyOf({ action: 'ALLOW', rules: [{ from: [{ source }] }] });
      const { authorizer } = await harness.enforce([policy], config, ['spiffe://old.example/']);
      const disagreements = await disagreeing(
        authorizer,
        [CLIENT, FORMER, PEERS[1]].map((peer) => requestOf(peer, '/')),
      );
      expect(disagreements.length, report(0, disagreements, [policy])).toBe(0);
    }
  });
});

describe('external authorizers', () => {
  const rules = [{ to: [{ operation: { paths: ['/a', '/a/*'], notMethods: ['PUT'], ports: [String(PORTS.http)] } }] }];
  const custom = (name: string, dryRun = false) => {
    const policy = policyOf({ action: 'CUSTOM', provider: { name }, rules });
    return dryRun
      ? { ...policy, metadata: { ...policy.metadata, annotations: { 'istio.io/dry-run': 'true' } } }
      : policy;
  };
  const service = 'web.dev.svc.cluster.local';
  // It answers 200 to every request.
  const extensionProviders = [{ name: 'grants', envoyExtAuthzHttp: { service, port: 80 } }];
  const config = { ...DEFAULT_MESH_CONFIG, authorizers: [{ name: 'grants', protocol: 'http' as const }] };
  afterAll(() => configure({}));

  it.each([
    ['that the mesh knows are asked', custom('grants'), ['envoy.filters.http.ext_authz']],
    ['that the mesh does not know refuse', custom('unknown'), ['policy[policy]']],
    ['in dry run deny what they match', custom('grants', true), ['envoy.filters.http.ext_authz']],
    ['that the mesh does not know, in dry run', custom('unknown', true), []],
  ])('%s', async (_, policy, signs) => {
    configure({ extensionProviders });
    const { authorizer } = await harness.enforce([policy], config, signs);
    const disagreements = await disagreeing(
      authorizer,
      ['/a', '/a/b', '/b', '/'].map((path) => requestOf(CLIENT, path)),
    );
    expect(disagreements.length, report(0, disagreements, [policy])).toBe(0);
  });
});

describe('headers that a rule of tokens writes', () => {
  /** The issuer whose rule Envoy evaluates first, and the one whose rule writes. */
  const rules = () => {
    const jwtRules = harness.world.issuers.map(({ name, jwks }, index) => ({
      issuer: name,
      jwks,
      ...(index === 1 && { outputClaimToHeaders: [{ header: 'x-sub', claim: 'sub' }] }),
    }));
    const metadata = { name: 'tokens', namespace: NAMESPACE };
    return { apiVersion: 'security.istio.io/v1', kind: 'RequestAuthentication', metadata, spec: { jwtRules } };
  };
  const policy = policyOf({ rules: [{ when: [{ key: 'request.headers[x-sub]', values: ['bob'] }] }] });
  const forgeries: readonly Readonly<Record<string, string>>[] = [{}, { 'x-sub': 'bob' }];
  const preflight = { origin: 'https://o.test', 'access-control-request-method': 'GET' };

  it('are removed from every call, even if another rule ends the check, and in a preflight', async () => {
    const { authorizer } = await harness.enforce([rules(), policy]);
    const signed = await Promise.all(
      harness.world.issuers.map(async (issuer) => {
        const claims = { iss: issuer.name, sub: 'bob' };
        return { claims, text: await issuer.sign(claims) };
      }),
    );
    const calls = ['GET', 'OPTIONS'].flatMap((method) =>
      [undefined, ...signed].flatMap((token) =>
        forgeries.map((forged): Call => {
          const bearer = token && { authorization: `Bearer ${token.text}` };
          const headers = { ...(method === 'OPTIONS' && preflight), ...bearer, ...forged };
          const call = requestOf(CLIENT, '/');
          return { ...call, http: { ...call.http!, method, headers }, ...(token && { tokens: [token] }) };
        }),
      ),
    );
    const disagreements = await disagreeing(authorizer, calls);
    expect(disagreements.length, report(0, disagreements, [rules(), policy])).toBe(0);
    const decided = calls.map((call) => authorizer.decide(call));
    expect(decided.filter(({ allowed }) => allowed)).toHaveLength(2);
    expect(decided.filter(({ headersOfOlderEnvoy }) => headersOfOlderEnvoy)).toHaveLength(4);
  });
});

describe('generated policies and calls', () => {
  let before: Before | undefined;
  const told: ReturnType<typeof threeWay>[] = [];
  afterAll(() => {
    const sum = (pick: (one: ReturnType<typeof threeWay>) => number) => told.reduce((all, one) => all + pick(one), 0);
    const [asked, pairs, changed, unknown] = [
      sum((one) => one.asked),
      sum((one) => one.pairs),
      sum((one) => one.changed),
      sum((one) => one.unknown),
    ];
    console.log(
      `diff: ${asked} calls agreed with, ${pairs} of them in two states, ${changed} changed; no words for ${unknown}`,
    );
  });

  it.each(Array.from({ length: ROUNDS }, (_, round) => round))('round %i', async (round) => {
    const random = randomFrom(SEED + round);
    const policies = policiesOf(random, round);
    const now = await harness.enforce(policies);
    const calls = before ? before.calls.slice(0, REPEATED) : [];
    while (calls.length < CALLS) calls.push(await generateCall(random, harness.world));
    const asked = threeWay(before, now);
    const disagreements: object[] = [];
    for (const call of calls) {
      const decision = now.authorizer.decide(call);
      const seen = await harness.see(now.authorizer, call);
      if (!agree(decision, seen)) disagreements.push(disagreement(call, decision, seen));
      disagreements.push(...asked.ask(call, isOpen(seen)));
    }
    told.push(asked);
    before = { ...now, calls, seen: asked.seen };
    expect(disagreements.length, report(SEED + round, disagreements, policies)).toBe(0);
  });
});

async function disagreeing(authorizer: Authorizer, calls: readonly Call[]): Promise<readonly object[]> {
  const disagreements: object[] = [];
  for (const call of calls) {
    const decision = authorizer.decide(call);
    const seen = await harness.see(authorizer, call);
    if (!agree(decision, seen)) disagreements.push(disagreement(call, decision, seen));
  }
  return disagreements;
}

/** istiod watches the file. */
function configure(more: object): void {
  const file = join(lab.dir, 'hosts/control/mesh.yaml');
  const { rootNamespace, trustDomain, enablePrometheusMerge, defaultConfig } = parse(readFileSync(file, 'utf8'));
  writeFileSync(file, stringify({ rootNamespace, trustDomain, enablePrometheusMerge, defaultConfig, ...more }));
}

function policyOf(spec: object): KubeObject {
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name: 'policy', namespace: NAMESPACE },
    spec,
  };
}

function requestOf(principal: string, path: string): Call {
  const { destination, addresses } = harness.world;
  const http = { method: 'GET', path, authority: 'orders.shop' };
  return { principal, destinationIp: destination, sourceIp: addresses[0]!, port: PORTS.http, http };
}

function policiesOf(random: Random, round: number) {
  const many = (count: number, make: (name: string) => ReturnType<typeof authorizationPolicy>) =>
    Array.from({ length: count }, () => make(`p${counter++}`));
  let counter = 0;
  return [
    ...(random.chance(0.4) ? [peerAuthentication(random, 'mesh', 'mesh')] : []),
    ...(random.chance(0.4) ? [peerAuthentication(random, 'namespace', 'namespace')] : []),
    ...(random.chance(0.4) ? [peerAuthentication(random, 'selected', 'selected')] : []),
    ...many(random.below(3), (name) => requestAuthentication(random, harness.world, name)),
    ...many(1 + random.below(5), (name) => authorizationPolicy(random, harness.world, name)),
    // Younger than the one above, and before it by name.
    ...(random.chance(0.2) ? [peerAuthentication(random, 'namespace', `${LATER}-${round}`)] : []),
  ];
}

/** Prints one line per call, for a regression case. */
function report(seed: number, disagreements: readonly object[], policies: readonly object[]): string {
  const line = (object: object) =>
    JSON.stringify(object, (key, value) => (key === 'jwks' || key === 'apiVersion' ? undefined : value));
  return [`seed ${seed}`, ...disagreements.slice(0, 10).map(line), ...policies.map(line)].join('\n');
}

function isOpen(seen: Seen): boolean {
  return seen === 200 || seen === 'open';
}

function agree({ allowed, status }: Decision, seen: Seen): boolean {
  if (allowed) return isOpen(seen);
  return status === undefined ? seen === 'closed' : seen === status;
}

function disagreement(call: Call, { rule, ...decision }: Decision, seen: Seen): object {
  const tokens = call.tokens?.map(({ claims, genuine }) => ({ claims, genuine }));
  const short = JSON.stringify(call.http, (_, value) =>
    typeof value === 'string' ? value.replaceAll(/eyJ[\w-]+\.[\w-]+\.([\w-]{4})[\w-]+/g, 'TOKEN-$1') : value,
  );
  return { seen, decision, rule: rule && `${rule.name}/${rule.rule}`, call: { ...call, tokens, http: short } };
}
