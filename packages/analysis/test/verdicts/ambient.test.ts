/** In ambient mode, too, diff does not contradict the evaluator: random policies at a ztunnel and at a waypoint. */
import { findMeshConfig, loadObject, type Resource } from '@meshpass/istio';
import { expect, it } from 'vitest';
import { pick, type Random, seeded } from '../diff/random-policies.ts';
import { askDiff } from './ask-diff.ts';
import { changed, type KubeManifest, type Manifests, randomMesh } from './random-mesh.ts';
import { Tally } from './tally.ts';

const ROUNDS = Number(process.env.MESHPASS_AMBIENT_ROUNDS ?? 60);
const SEED = 20261130;

const LABELS: readonly Readonly<Record<string, string>>[] = [
  { 'istio-injection': 'enabled' },
  { 'istio.io/dataplane-mode': 'ambient' },
  { 'istio.io/dataplane-mode': 'ambient', 'istio.io/use-waypoint': 'gate' },
];
const TARGETS = [
  { kind: 'Service', group: '', name: 'orders' },
  { kind: 'Gateway', group: 'gateway.networking.k8s.io', name: 'gate' },
  { kind: 'GatewayClass', group: 'gateway.networking.k8s.io', name: 'istio-waypoint' },
];

it(`agrees with the evaluator in ${ROUNDS} meshes`, { timeout: 120_000 }, () => {
  const tally = new Tally();
  for (let round = 0; round < ROUNDS && tally.contradictions.length === 0; round++) {
    const random = seeded(SEED + round);
    const mesh = randomMesh(random);
    const [before, after] = [mesh, changed(random, mesh)].map((state) => load(inAmbient(random, state)));
    askDiff(tally, round, random, { before: before!, after: after!, config: findMeshConfig(before!) }, 120);
  }
  console.log(tally.summary());
  expect(tally.contradictions.slice(0, 2)).toEqual([]);
  expect(tally.questions).toBeGreaterThan(ROUNDS * 50);
  expect(tally.allowed / tally.questions).toBeGreaterThan(0.1);
  expect(tally.allowed / tally.questions).toBeLessThan(0.9);
});

/** Puts the namespace in ambient mode or not, and attaches some policies to the waypoint. */
function inAmbient(random: Random, mesh: Manifests): Manifests {
  const namespace: KubeManifest = {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: 'shop', labels: pick(random, LABELS) },
  };
  const gate: KubeManifest = {
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'Gateway',
    metadata: { name: 'gate', namespace: 'shop' },
    spec: { gatewayClassName: 'istio-waypoint' },
  };
  const attached = mesh
    .filter(({ kind, metadata }) => !(kind === 'Pod' && metadata.name.startsWith('web')))
    .map((one) => {
      if (!['AuthorizationPolicy', 'RequestAuthentication'].includes(one.kind) || random() < 0.5) return one;
      const { selector: _, targetRef: __, ...spec } = one.spec as Record<string, unknown>;
      return { ...one, spec: { ...spec, targetRefs: [pick(random, TARGETS)] } };
    });
  return [namespace, gate, ...attached];
}

function load(mesh: Manifests): readonly Resource[] {
  return mesh.flatMap((object) => {
    const { resources, problems } = loadObject(object, 'generated');
    if (problems.length > 0) throw new Error(problems.map(({ message }) => message).join('; '));
    return resources;
  });
}
