/** Compares the symbolic comparison with the evaluator's decisions, call by call: two independent readings of Istio. */

import { DEFAULT_MESH_CONFIG, loadObject, type Resource, viewMesh } from '@meshpass/istio';
import { expect, it } from 'vitest';
import { type Call, meets } from '../../src/diff/formula/call.ts';
import { indexPolicies } from '../../src/diff/policy-index.ts';
import { workloadsOf } from '../../src/diff/workloads.ts';
import { createAuthorizer } from '../../src/evaluate/authorizer.ts';
import type { Call as EvaluatedCall } from '../../src/evaluate/call.ts';
import { type Random, randomCall, randomState, seeded } from './random-policies.ts';

const MESH = { ...DEFAULT_MESH_CONFIG, trustDomainAliases: ['old.example'] };
const TRUSTED = ['cluster.local', 'old.example'];
const PORTS = [
  [8080, 'http'],
  [9090, 'tcp'],
] as const;

const deployment = (name: string): object => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name, namespace: 'shop' },
  spec: { template: { metadata: { labels: { app: name } }, spec: { serviceAccountName: name } } },
});
const DEPLOYED = ['orders', 'web'].flatMap((name) => [...loadObject(deployment(name), 'deployed').resources]);

/** Issuers whose tokens a workload accepts; a token of another issuer does not verify there. */
function issuersOf(state: readonly Resource[]): readonly string[] {
  return state.flatMap((one) =>
    one.kind === 'RequestAuthentication' ? (one.spec.jwtRules ?? []).map(({ issuer = '' }) => issuer) : [],
  );
}

/**
 * Converts a call for the evaluator; undefined if it cannot exist: a token without an issuer, or two kinds of tokens.
 */
function asEvaluated(call: Call, port: number, http: boolean, issuers: readonly string[]): EvaluatedCall | undefined {
  const { texts, lists, flags } = call;
  const domain = texts.get('peer.trustDomain')!;
  if (flags.has('peer') && !TRUSTED.includes(domain)) return undefined;
  const issuer = texts.get('token.issuer');
  const unverified = flags.has('unverified:header authorization');
  if (issuer !== undefined && (unverified || !issuers.includes(issuer))) return undefined;
  if (unverified && issuers.length === 0) return undefined;
  const claims = {
    iss: issuer,
    sub: texts.get('token.subject'),
    groups: lists.get('token.claim:groups'),
    aud: lists.get('token.claim:aud'),
  };
  const headers: Record<string, string> = {};
  if (issuer !== undefined || unverified) headers.authorization = 'Bearer a.b.c';
  const team = texts.get('header:x-team');
  if (team !== undefined) headers['x-team'] = team;
  return {
    ...(flags.has('peer') && {
      principal: `${domain}/ns/${texts.get('peer.namespace')}/sa/${texts.get('peer.account')}`,
    }),
    port,
    sourceIp: call.addresses.get('source.ip')!,
    remoteIp: call.addresses.get('remote.ip')!,
    ...(texts.has('connection.sni') && { sni: texts.get('connection.sni')! }),
    ...(http && {
      http: { method: texts.get('method')!, path: texts.get('path')!, authority: texts.get('host')!, headers },
      tokens: [{ text: 'a.b.c', claims: JSON.parse(JSON.stringify(claims)), genuine: !unverified }],
    }),
  };
}

/** Excludes CUSTOM policies, whose calls are neither allowed nor denied; other tests compare them. */
function state(random: Random): readonly Resource[] {
  return randomState(random).filter((one) => one.kind !== 'AuthorizationPolicy' || one.spec.action !== 'CUSTOM');
}

it('agrees with the evaluator about random policies and calls', () => {
  let compared = 0;
  let allowed = 0;
  for (let seed = 1_000; seed < 1_150; seed++) {
    const random = seeded(seed);
    const resources = [...state(random), ...DEPLOYED];
    const view = viewMesh(resources, MESH);
    const index = indexPolicies(resources, MESH);
    const issuers = issuersOf(resources);
    const calls = Array.from({ length: 60 }, () => randomCall(random));
    for (const workload of workloadsOf(resources, MESH.rootNamespace)) {
      const same = view.workloads.find(({ labels }) => labels.app !== undefined && labels.app === workload.labels.app);
      if (!same) continue;
      const authorizer = createAuthorizer(view, same);
      for (const [port, protocol] of PORTS) {
        const formula = index.at(workload, port, protocol).allowed;
        for (const call of calls) {
          const evaluated = asEvaluated(call, port, protocol === 'http', issuers);
          if (!evaluated) continue;
          const decision = authorizer.decide(evaluated);
          compared++;
          if (decision.allowed) allowed++;
          expect({ seed, port, call, decision, allowed: meets(call, formula) }).toMatchObject({
            allowed: decision.allowed,
          });
        }
      }
    }
  }
  expect(compared).toBeGreaterThan(5_000);
  // Neither all nor none: otherwise agreement would mean little.
  expect(allowed / compared).toBeGreaterThan(0.1);
  expect(allowed / compared).toBeLessThan(0.9);
});
