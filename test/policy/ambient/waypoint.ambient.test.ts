/**
 * The evaluator against a real waypoint and the ztunnel behind it: generated policies go through istiod to both, generated calls are made to a
 * Service of the waypoint or around it, and every verdict must be the evaluator's. docs/testing.md describes how to make more of them.
 */
import { type Call, evaluate, findEndpoints } from '@meshpass/analysis/evaluate';
import { viewMesh } from '@meshpass/istio';
import { upLab } from '@meshpass/lab';
import type { KubeObject } from '@meshpass/lab/kubernetes';
import { AMBIENT_NAMESPACE, WAYPOINT } from '@meshpass/lab/plan';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateCall } from '../differential/generate-calls.ts';
import { authorizationPolicy, ROOT, requestAuthentication, type Scope } from '../differential/generate-policies.ts';
import { type Random, randomFrom } from '../differential/random.ts';
import { PORTS } from '../differential/target.ts';
import { CALLERS, type Way } from './callers.ts';
import { AMBIENT_PEERS, type Harness, openHarness, policyOf, RENUMBERED, SERVICE, VIP } from './harness.ts';
import { isOpen, report, type Sent } from './report.ts';

const ROUNDS = Number(process.env.MESHPASS_DIFFERENTIAL_ROUNDS ?? 14);
const CALLS = Number(process.env.MESHPASS_DIFFERENTIAL_CALLS ?? 50);
const SEED = Number(process.env.MESHPASS_DIFFERENTIAL_SEED ?? 20261201);

const POD = 'hello';
const LABELS = { app: POD };
const SCOPE: Scope = { namespace: AMBIENT_NAMESPACE, labels: LABELS, select };
const HOST = `${SERVICE}.${AMBIENT_NAMESPACE}`;

describe.skipIf(!process.env.MESHPASS_ZTUNNEL)('a waypoint before a ztunnel (its binary is MESHPASS_ZTUNNEL)', () => {
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

  async function send(decide: Decide, way: Way, generated: Call): Promise<Sent> {
    const made = madeBy(way, generated);
    const seen = await harness.callers.send(way, made);
    const call = seenBy(way, made);
    return { way, call, seen, ...decide(call) };
  }

  /** The call as an application makes it, for ways in which its own proxy makes the tunnel. */
  function madeBy(way: Way, call: Call): Call {
    if (way === 'pod') return { ...call, sourceIp: lab.hosts[CALLERS.pod.host]!.ip };
    if (way === 'hbone') return { ...call, destinationIp: lab.hosts[POD]!.ip, port: podPort(call.port) };
    if (way !== 'sidecar') return call;
    // A sidecar routes by the Host header, and sends its own answers to strange paths and to what is no HTTP.
    const speaksHttp = call.http || call.port === RENUMBERED;
    const http = speaksHttp && { method: 'GET', path: '/', authority: HOST };
    return { ...call, ...(http && { http }), sourceIp: lab.hosts[CALLERS.sidecar.host]!.ip };
  }
  /** The call as the evaluator is asked about it. */
  function seenBy(way: Way, { sni: _, ...call }: Call): Call {
    if (way === 'waypoint') return { ...call, way: 'waypoint' };
    if (way === 'hbone') return { ...call, way: 'pod' };
    return { ...call, principal: CALLERS[way as keyof typeof CALLERS].principal };
  }

  it('is passed by in the ways that the evaluator expects', async () => {
    const rules = [{ to: [{ operation: { methods: ['GET'], paths: ['/a'] } }] }];
    const targetRefs = [{ group: '', kind: 'Service', name: SERVICE }];
    const policy = policyOf('AuthorizationPolicy', 'a', AMBIENT_NAMESPACE, { targetRefs, rules });
    const decide = decideBy(await harness.enforce([policy]), lab.hosts[POD]!.ip);
    const call: Call = {
      principal: AMBIENT_PEERS[0]!,
      destinationIp: VIP,
      sourceIp: harness.world.addresses[0]!,
      port: PORTS.http,
      http: { method: 'GET', path: '/b', authority: HOST },
    };
    const seen: unknown[] = [];
    for (const way of ['waypoint', 'pod', 'sidecar', 'hbone'] as const) {
      const sent = await send(decide, way, call);
      seen.push([way, sent.seen]);
      expect(sent.decision.allowed).toBe(isOpen(sent.seen));
    }
    expect(seen).toEqual([
      ['waypoint', 403],
      ['pod', 403],
      ['sidecar', 200],
      ['hbone', 200],
    ]);
  });

  const told = { calls: 0, open: 0 };
  afterAll(() => console.log(`waypoint: ${told.calls} decisions agreed, ${told.open} of them to let a call pass`));

  it.each(Array.from({ length: ROUNDS }, (_, round) => round))('round %i of policies and calls', async (round) => {
    const random = randomFrom(SEED + round);
    const policies = policiesOf(random, harness);
    const decide = decideBy(await harness.enforce(policies), lab.hosts[POD]!.ip);
    const sent: Sent[] = [];
    while (sent.length < CALLS) {
      const generated = await generateCall(random, harness.world);
      const call = { ...generated, principal: random.pick(AMBIENT_PEERS) };
      sent.push(await send(decide, wayOf(random), call));
    }
    const disagreements = sent.filter((one) => !agrees(one));
    expect(disagreements.length, report(SEED + round, disagreements, policies)).toBe(0);
    told.calls += sent.length;
    told.open += sent.filter(({ decision }) => decision.allowed).length;
  });
});

type Decide = (call: Call) => Pick<Sent, 'decision' | 'unknown'>;

/** @param destinationIp address of the Pod */
function decideBy(resources: Parameters<typeof viewMesh>[0], destinationIp: string): Decide {
  const view = viewMesh(resources);
  const endpoints = new Map(
    [PORTS.http, PORTS.tcp, PORTS.undeclared, RENUMBERED].map((port: number) => [
      port,
      findEndpoints(view, `${HOST}:${port}`)[0]!,
    ]),
  );
  return (call) => {
    const endpoint = endpoints.get(call.port)!;
    return evaluate(endpoint, { ...call, port: endpoint.port, destinationIp });
  };
}

function podPort(port: number): number {
  return port === RENUMBERED ? PORTS.http : port;
}

function agrees({ decision: { allowed, status, headersOfOlderEnvoy }, unknown, seen }: Sent): boolean {
  // This Envoy is not an older one.
  if (unknown !== undefined && !headersOfOlderEnvoy) return false;
  if (allowed) return isOpen(seen);
  return status === undefined ? !isOpen(seen) : seen === status;
}

function wayOf(random: Random): Way {
  return random.pick<Way>([...Array<Way>(13).fill('waypoint'), 'pod', 'sidecar', 'hbone']);
}

function select(random: Random, namespace: string): object {
  const gateways = 'gateway.networking.k8s.io';
  const ofClass = { targetRefs: [{ group: gateways, kind: 'GatewayClass', name: 'istio-waypoint' }] };
  const ofGateway = { targetRefs: [{ group: gateways, kind: 'Gateway', name: WAYPOINT }] };
  const ofService = (name: string) => ({ targetRefs: [{ group: '', kind: 'Service', name }] });
  if (namespace === ROOT)
    return random.pick<object>([ofClass, ofClass, ofClass, {}, { selector: { matchLabels: LABELS } }]);
  return random.pick<object>([
    ...[ofService(SERVICE), ofService(SERVICE), ofService(SERVICE), ofGateway, ofGateway, ofClass],
    ...[ofService('other'), {}, { selector: { matchLabels: LABELS } }],
  ]);
}

function policiesOf(random: Random, { world }: Harness): readonly KubeObject[] {
  const many = (count: number, make: typeof authorizationPolicy, prefix: string) =>
    Array.from({ length: count }, (_, index) => make(random, world, `${prefix}${index}`, SCOPE));
  return [...many(random.below(3), requestAuthentication, 'r'), ...many(1 + random.below(5), authorizationPolicy, 'p')];
}
