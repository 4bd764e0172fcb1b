/**
 * The corpus of migrations to ambient mode, before at a real sidecar and after at a real ztunnel and waypoint: the call with which `diff`
 * proves a change is allowed or refused there as it says. Left out are calls with a token, and states with a mesh configuration.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { METHODS } from 'node:http';
import { type Change, compareMeaning } from '@meshpass/analysis/diff';
import type { Call } from '@meshpass/analysis/evaluate';
import { DEFAULT_MESH_CONFIG, loadManifests, type Resource } from '@meshpass/istio';
import { upLab } from '@meshpass/lab';
import { AMBIENT, GATEWAY } from '@meshpass/lab/ambient/objects';
import type { KubeObject } from '@meshpass/lab/kubernetes';
import { serviceObjects } from '@meshpass/lab/mesh/objects';
import { AMBIENT_NAMESPACE, WAYPOINT } from '@meshpass/lab/plan';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { asCall } from '../../../packages/analysis/test/verdicts/same-call.ts';
import type { Seen } from '../differential/caller.ts';
import * as sidecar from '../differential/harness.ts';
import { PORTS } from '../differential/target.ts';
import { type Harness, openHarness } from './harness.ts';

const HOME = new URL('../../../packages/analysis/test/outside/', import.meta.url);
const SERVICES = readFileSync(new URL('ambient.yaml', HOME), 'utf8');
const POD = 'hello';
/** Service `orders` of the corpus. */
const VIP = '10.96.0.7';
const SERVICE_PORT = 80;
/** Port that neither Services nor policies of the corpus name. */
const OTHER_PORT = PORTS.unknown;

interface Witness {
  readonly kind: Change['kind'];
  readonly through: boolean;
  readonly call: Call;
}

const CASES = readdirSync(new URL('corpus/', HOME))
  .filter((name) => name.startsWith('ambient-') && name.includes('-bad-'))
  .toSorted()
  .map((name) => {
    const [before, after] = ['before.yaml', 'after.yaml'].map((file) =>
      readFileSync(new URL(`corpus/${name}/${file}`, HOME), 'utf8'),
    ) as [string, string];
    return { name, before, after, witnesses: witnessesOf(before, after) };
  })
  .filter(({ after, witnesses }) => !after.includes('kind: ConfigMap') && witnesses.length > 0);

function witnessesOf(before: string, after: string): readonly Witness[] {
  const [was, is] = [before, after].map((text): readonly Resource[] =>
    [SERVICES, text].flatMap((one) => loadManifests(one, 'state.yaml').resources),
  ) as [readonly Resource[], readonly Resource[]];
  return compareMeaning(was, is, DEFAULT_MESH_CONFIG).changes.flatMap(({ kind, example, where }) => {
    const { workload, port, protocol, through } = where[0]!;
    const hasToken =
      example.texts.has('token.issuer') || [...example.flags].some((one) => one.startsWith('unverified:'));
    if (hasToken || workload.labels.app !== 'orders') return [];
    const call = asCall(example, port ?? OTHER_PORT, protocol, new Map(), DEFAULT_MESH_CONFIG)!;
    const { external: _, sourceIp: __, remoteIp: ___, tokens: ____, http, ...rest } = call;
    // Envoy's HTTP/1.1 rejects methods that it does not know, such as the one that stands for any other.
    const method = http && METHODS.includes(http.method) ? http.method : 'PATCH';
    return [{ kind, through: through !== undefined, call: { ...rest, ...(http && { http: { ...http, method } }) } }];
  });
}

describe.skipIf(!process.env.MESHPASS_ZTUNNEL)('a migration to a ztunnel (its binary is MESHPASS_ZTUNNEL)', () => {
  let lab: Awaited<ReturnType<typeof upLab>>;
  let before: sidecar.Harness;
  let after: Harness;
  let service: readonly KubeObject[];
  const peers = CASES.flatMap(({ witnesses }) => witnesses.flatMap(({ call }) => call.principal ?? []));

  beforeAll(async () => {
    lab = await upLab({ with: ['ambient'] });
    before = await sidecar.openHarness(lab, peers);
    after = await openHarness(lab, POD, peers.map(renamed));
    const ports = [{ name: 'http', port: SERVICE_PORT, targetPort: 8080 }];
    const orders = {
      namespace: AMBIENT_NAMESPACE,
      name: 'orders',
      clusterIp: VIP,
      hosts: [POD],
      ports,
      selector: { app: POD },
    };
    service = serviceObjects({ hosts: lab.hosts, services: [orders] });
    await lab.kubernetes.apply(...['web', 'infra'].map(namespaceOf), ...service);
  });
  afterAll(async () => {
    await after?.close();
    await before?.close();
    await lab?.kubernetes.remove(...service, ...['web', 'infra'].map(namespaceOf));
    await lab?.down();
  });

  it('has fifteen cases with calls that the lab can send', () => expect(CASES.length).toBeGreaterThanOrEqual(15));

  it.each(CASES)('$name', async ({ before: was, after: is, witnesses }) => {
    const { jwks } = after.world.issuers[0]!;
    const { authorizer } = await before.enforce(objectsIn(was, jwks).filter(isPolicy));
    const seenBefore: Seen[] = [];
    for (const { call } of witnesses)
      seenBefore.push(await before.see(authorizer, { ...call, ...addressesOf(lab.hosts.orders!.ip) }));

    const objects = objectsIn(renamed(is), jwks);
    const places = objects.filter((one) => !isPolicy(one));
    await lab.kubernetes.apply(...places);
    await after.enforce(objects.filter(isPolicy));
    const seenAfter: Seen[] = [];
    for (const { call, through } of witnesses) seenAfter.push(await sendAfter(call, through));
    await lab.kubernetes.remove(
      ...objects.filter(({ metadata }) => ['web', 'infra'].includes(metadata.namespace ?? '')),
    );
    await lab.kubernetes.apply(AMBIENT, GATEWAY);

    expect(witnesses.map((_, at) => [passes(seenBefore[at]!), passes(seenAfter[at]!)])).toEqual(
      witnesses.map(({ kind }) => (kind === 'gains' ? [false, true] : [true, false])),
    );
  });

  function addressesOf(destinationIp: string): Pick<Call, 'sourceIp' | 'destinationIp'> {
    return { sourceIp: after.world.addresses[0]!, destinationIp };
  }

  function sendAfter({ principal, ...call }: Call, through: boolean): Promise<Seen> {
    const made = { ...call, ...addressesOf(lab.hosts[POD]!.ip) };
    if (principal === undefined) return after.callers.send('plain', made);
    const identified = { ...made, principal: renamed(principal) };
    return through
      ? after.callers.send('waypoint', { ...identified, destinationIp: VIP, port: SERVICE_PORT })
      : after.callers.send('hbone', identified);
  }
});

/** Maps the corpus to the lab: namespace `shop` is in ambient mode there, and one Pod stands for the workload. */
function renamed(text: string): string {
  return text
    .replaceAll(/\bshop\b/g, AMBIENT_NAMESPACE)
    .replaceAll(/\bgate\b/g, WAYPOINT)
    .replaceAll('app: orders', `app: ${POD}`);
}

/** Network of callers in the corpus, and of those in labs. */
const CALLERS = ['10.9.0.0/16', '10.201.0.0/16'] as const;

/** @param jwks keys for RequestAuthentications, whose own in the corpus Envoy rejects */
function objectsIn(text: string, jwks: string): readonly KubeObject[] {
  const inLab = text.replaceAll(`jwks: "{}"`, `jwks: '${jwks}'`).replaceAll(...CALLERS);
  const objects = parseAllDocuments(inLab).map((document) => document.toJS() as KubeObject);
  return objects.filter(({ kind, metadata }) => kind !== 'Namespace' || metadata.name === AMBIENT_NAMESPACE);
}

function isPolicy({ apiVersion }: KubeObject): boolean {
  return apiVersion.startsWith('security.istio.io/');
}

function namespaceOf(name: string): KubeObject {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name } };
}

/** Whether the application answers, whatever it answers. */
function passes(seen: Seen): boolean {
  return seen !== 401 && seen !== 403 && seen !== 503 && seen !== 'closed';
}
