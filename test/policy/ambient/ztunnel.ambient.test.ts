/**
 * The evaluator against a real ztunnel: generated policies go through istiod to it, generated calls are made to a Pod behind it, and every
 * verdict must be the evaluator's. docs/testing.md describes how to make more of them.
 */
import { type Authorizer, type Call, createAuthorizer } from '@meshpass/analysis/evaluate';
import { type Resource, viewMesh } from '@meshpass/istio';
import { upLab } from '@meshpass/lab';
import type { KubeObject } from '@meshpass/lab/kubernetes';
import { AMBIENT_NAMESPACE } from '@meshpass/lab/plan';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateCall } from '../differential/generate-calls.ts';
import { authorizationPolicy, peerAuthentication, ROOT, type Scope } from '../differential/generate-policies.ts';
import { type Random, randomFrom } from '../differential/random.ts';
import { PORTS } from '../differential/target.ts';
import { CALLERS, type Way } from './callers.ts';
import { AMBIENT_PEERS, type Harness, openHarness, policyOf, SERVICE, VIP } from './harness.ts';
import { isOpen, report, type Sent } from './report.ts';

const ROUNDS = Number(process.env.MESHPASS_DIFFERENTIAL_ROUNDS ?? 14);
const CALLS = Number(process.env.MESHPASS_DIFFERENTIAL_CALLS ?? 40);
const SEED = Number(process.env.MESHPASS_DIFFERENTIAL_SEED ?? 20261130);

const POD = 'direct';
const LABELS = { app: POD };
const SCOPE: Scope = { namespace: AMBIENT_NAMESPACE, labels: LABELS, select };

describe.skipIf(!process.env.MESHPASS_ZTUNNEL)('a ztunnel (its binary is MESHPASS_ZTUNNEL)', () => {
  let lab: Awaited<ReturnType<typeof upLab>>;
  let harness: Harness;
  beforeAll(async () => {
    lab = await upLab({ with: ['ambient'] });
    harness = await openHarness(lab, POD);
  });
  afterAll(async () => {
    await harness?.close();
    await lab?.down();
  });

  const addressOf = (host: string): string => lab.hosts[host]!.ip;

  /** The call as an application makes it, for ways in which its own proxy makes the tunnel. */
  const madeBy = (way: Way, call: Call): Call => {
    if (way === 'pod') return { ...call, sourceIp: addressOf(CALLERS.pod.host) };
    if (way !== 'sidecar') return call;
    // A sidecar routes by the Host header, and sends its own answers to strange paths.
    const http = call.http && { method: 'GET', path: '/', authority: `${SERVICE}.${AMBIENT_NAMESPACE}` };
    return { ...call, ...(http && { http }), sourceIp: addressOf(CALLERS.sidecar.host), destinationIp: VIP };
  };
  /** The call as ztunnel sees it. */
  const seenBy = (way: Way, { sni: _, principal, ...call }: Call): Call => {
    if (way === 'hbone') return { ...call, ...(principal && { principal }) };
    if (way === 'plain') return call;
    return {
      ...call,
      destinationIp: harness.world.destination,
      principal: CALLERS[way as keyof typeof CALLERS].principal,
    };
  };

  async function send(authorizer: Authorizer, way: Way, generated: Call): Promise<Sent> {
    const made = madeBy(way, generated);
    const seen = await harness.callers.send(way, made);
    const call = seenBy(way, made);
    return { way, call, seen, decision: authorizer.decide(call) };
  }

  const disagreeing = (sent: readonly Sent[]) => sent.filter(({ seen, decision }) => isOpen(seen) !== decision.allowed);

  it('refuses calls in every way under a policy that allows nothing', async () => {
    const nothing = policyOf('AuthorizationPolicy', 'none', AMBIENT_NAMESPACE, {});
    for (const [policies, open] of [
      [[], true],
      [[nothing], false],
    ] as const) {
      const permissive = policyOf('PeerAuthentication', 'open', AMBIENT_NAMESPACE, { mtls: { mode: 'PERMISSIVE' } });
      const authorizer = authorizerOf(await harness.enforce([permissive, ...policies]));
      const http = { method: 'GET', path: '/', authority: 'probe' };
      const { destination, addresses } = harness.world;
      const call: Call = {
        principal: AMBIENT_PEERS[0]!,
        destinationIp: destination,
        sourceIp: addresses[0]!,
        port: PORTS.http,
        http,
      };
      const ways: readonly Way[] = ['hbone', 'plain', 'pod', 'sidecar'];
      const sent: Sent[] = [];
      for (const way of ways) sent.push(await send(authorizer, way, call));
      expect(sent.map(({ way, seen }) => [way, isOpen(seen)])).toEqual(ways.map((way) => [way, open]));
      expect(disagreeing(sent)).toEqual([]);
    }
  });

  const told = { calls: 0, open: 0 };
  afterAll(() => console.log(`ztunnel: ${told.calls} decisions agreed, ${told.open} of them to let a call pass`));

  it.each(Array.from({ length: ROUNDS }, (_, round) => round))('round %i of policies and calls', async (round) => {
    const random = randomFrom(SEED + round);
    const policies = policiesOf(random, harness);
    const authorizer = authorizerOf(await harness.enforce(policies));
    const sent: Sent[] = [];
    while (sent.length < CALLS) {
      const generated = await generateCall(random, harness.world);
      const principal = random.pick(AMBIENT_PEERS);
      const way = wayOf(random, generated);
      sent.push(await send(authorizer, way, { ...generated, principal }));
    }
    const disagreements = disagreeing(sent);
    expect(disagreements.length, report(SEED + round, disagreements, policies)).toBe(0);
    told.calls += sent.length;
    told.open += sent.filter(({ decision }) => decision.allowed).length;
  });
});

function authorizerOf(resources: readonly Resource[]): Authorizer {
  const view = viewMesh(resources);
  return createAuthorizer(view, view.workloads.find(({ name }) => name === POD)!);
}

/** Mostly tunnels, which are cheap, and a few calls of real proxies. */
function wayOf(random: Random, { port }: Call): Way {
  const way = random.pick<Way>([...Array<Way>(11).fill('hbone'), 'plain', 'plain', 'pod', 'sidecar']);
  // The Service has no such port of the Pod.
  return way === 'sidecar' && port === PORTS.unknown ? 'hbone' : way;
}

function select(random: Random, namespace: string): object {
  const which = random.below(10);
  if (which < 4) return {};
  if (which < 8) return { selector: { matchLabels: LABELS } };
  if (which === 8 || namespace === ROOT) return { selector: { matchLabels: { app: 'another' } } };
  return { targetRefs: [{ group: '', kind: 'Service', name: SERVICE }] };
}

function policiesOf(random: Random, { world }: Harness): readonly KubeObject[] {
  const modes = (['mesh', 'namespace', 'workload', 'selected'] as const).filter(() => random.chance(0.45));
  const count = random.below(5);
  return [
    ...modes.map((extent) => peerAuthentication(random, extent, extent, SCOPE)),
    ...Array.from({ length: count }, (_, index) => authorizationPolicy(random, world, `p${index}`, SCOPE)),
  ];
}
