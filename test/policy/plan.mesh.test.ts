/**
 * Plans on a real mesh that is kept in as many ways as teams keep theirs, with several access files each. What a plan says is tried:
 * calls that it says are gained work afterwards, all others answer as before, and calls between workloads of the mesh answer the same.
 */
import { isUnknown, type Plan, planChange, refusals } from '@meshpass/analysis/plan';
import { kubeconfigAccess } from '@meshpass/broker/mesh/kubernetes/access';
import { createKubernetesHttp } from '@meshpass/broker/mesh/kubernetes/http';
import { createKubernetes as broker } from '@meshpass/broker/mesh/kubernetes/kubernetes';
import { applyManifests } from '@meshpass/broker/mesh/reconcile/apply-compiled';
import { readCluster } from '@meshpass/cli/input/cluster-manifests';
import { findMeshConfig } from '@meshpass/istio';
import { type Lab, upLab } from '@meshpass/lab';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../mesh.ts';
import { configurationOf } from './istiod.ts';
import { AMBIENT } from './plan/ambient-meshes.ts';
import { access, BASE, type Call, FILES, type File } from './plan/files.ts';
import { GATEWAY_API } from './plan/gateway-api-meshes.ts';
import { type Answers, answersOf, type Inside, openInside } from './plan/inside.ts';
import { enterMesh, type MeshInForce } from './plan/keep.ts';
import type { Mesh } from './plan/mesh.ts';
import { SIDECAR } from './plan/sidecar-meshes.ts';
import { nameOf, statedBy, unknownPorts } from './plan/statements.ts';
import { TRAFFIC } from './plan/traffic-meshes.ts';
import { ACCOUNT, openWorkspaces, TOKENS, type Workspaces } from './plan/workspace.ts';

const MESHES: readonly Mesh[] = [...SIDECAR, ...TRAFFIC, ...GATEWAY_API, ...AMBIENT];
const SHAPE = {
  trustDomain: 'cluster.local',
  rootNamespace: 'istio-system',
  clusterDomain: 'cluster.local',
  gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
};
const OURS = '?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dmeshpass';

let lab: Lab;
let http: ReturnType<typeof createKubernetesHttp>;
let workspaces: Workspaces;
let callers: Inside;

beforeAll(async () => {
  lab = await upLab({ with: ['workspace-2', 'ingress'], gatewayApi: true });
  http = createKubernetesHttp(await kubeconfigAccess(lab.kubeconfig));
  await apply((await plan(BASE)).manifests);
  workspaces = await openWorkspaces(lab, http);
  callers = openInside(lab);
});
afterAll(async () => {
  callers?.close();
  await apply([]);
  await until(
    async () => (await lab.kubernetes.call('GET', `/api/v1/namespaces${OURS}`)) as { items: unknown[] },
    ({ items }) => items.length === 0,
    60,
  );
  http.close();
  await lab.down();
});

/** Unix seconds. More than an hour passes before each write, so that removed grants are denied by one of them only. */
let clock = Math.floor(Date.now() / 1000);

function apply(manifests: Parameters<typeof applyManifests>[0]) {
  const now = () => {
    clock += 4_000;
    return clock;
  };
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  return applyManifests(manifests, { kubernetes: broker(http), mesh: SHAPE, now, log });
}

async function plan(file: File): Promise<Plan> {
  const { resources, problems } = await readCluster(lab.kubeconfig);
  expect(problems).toEqual([]);
  const { trustDomainAliases } = findMeshConfig(resources);
  return planChange({ access: access(file), cluster: resources, shape: SHAPE, tokens: TOKENS, trustDomainAliases });
}

const said = ({ kind, message, because }: Plan['findings'][number]) => `${kind}: ${message}: ${because}`;

/** Waits until workloads of the mesh get these answers, three times on end: connections that are being drained keep old rules. */
async function settled(inside: Answers): Promise<void> {
  let same = 0;
  await until(
    async () => {
      const seen = await callers.answers();
      const differences = Object.entries(seen).filter(([name, answer]) => inside[name as keyof Answers] !== answer);
      same = differences.length === 0 ? same + 1 : 0;
      return differences.map(([name, answer]) => `${name}: ${answer}`);
    },
    () => same === 3,
    50,
  );
}

/** Makes the calls until each works or not as stated, twice on end. */
async function expectCalls(stated: ReadonlyMap<Call, boolean>): Promise<void> {
  let same = 0;
  await until(
    async () => {
      const wrong = await Promise.all(
        [...stated].map(async ([call, works]) =>
          (await workspaces.works(call)) === works ? [] : `${nameOf(call)} ${works ? 'does not work' : 'works'}`,
        ),
      );
      same = wrong.flat().length === 0 ? same + 1 : 0;
      return wrong.flat();
    },
    () => same === 2,
    40,
  );
}

/** Checks that istiod shows workspaces the services of these calls. */
async function expectShown(calls: readonly Call[]): Promise<void> {
  for (const [grant, some] of Map.groupBy(calls, ([name]) => name)) {
    const who = { namespace: `meshpass-${grant}`, serviceAccount: ACCOUNT };
    const wanted = some.map(([, , target]) => {
      const [name, port] = target.split('#')[0]!.split(':') as [string, string];
      return `outbound|${port}||${name}.svc.cluster.local`;
    });
    await until(
      async () => {
        const { clusters } = await configurationOf(lab, who, []);
        return wanted.filter((name) => !clusters.includes(name));
      },
      (missing) => missing.length === 0,
    );
  }
}

/** Every call of the general access files and of these. */
function callsOf(files: readonly File[]): readonly Call[] {
  const calls = [...new Set([...FILES, ...files])].flatMap((file) => [...file.granted, ...file.refused]);
  return [...new Map(calls.map((call) => [nameOf(call), call])).values()];
}

describe.each(MESHES)('a mesh $name', (mesh) => {
  const inside = answersOf(mesh.inside);
  const calls = callsOf(mesh.cases.map(({ file }) => file));
  let kept: MeshInForce;
  let now = new Map<Call, boolean>(calls.map((call) => [call, false]));

  beforeAll(async () => {
    kept = await enterMesh(lab, mesh);
    await settled(inside);
  });
  afterAll(async () => {
    await kept?.leave();
    // Acts like the broker: without the foreign ALLOW, ours must also go.
    await apply((await plan(BASE)).manifests);
  });

  it.each(mesh.cases)('confirms the plan of $file.name', async ({ file, findings = [], broken = [], unknown = [] }) => {
    await expectCalls(now);
    const planned = await plan(file);
    // The order of findings follows the creation times of Pods, which the lab may create in the same second.
    const found = planned.findings.map(said);
    expect(found.filter((one) => !findings.some((expected) => expected.test(one)))).toEqual([]);
    expect(findings.filter((expected) => !found.some((one) => expected.test(one)))).toEqual([]);
    expect(found).toHaveLength(findings.length);
    expect(unknownPorts(planned)).toEqual([...unknown].sort());
    expect(isUnknown(planned)).toBe(unknown.length > 0 && broken.length === 0);
    expect(refusals(planned).length > 0).toBe(unknown.length + broken.length > 0);

    const stated = statedBy(planned, now);
    const works = (call: Call) => [...stated].find(([one]) => nameOf(one) === nameOf(call))?.[1];
    const isBroken = (call: Call) => broken.some((one) => nameOf(one) === nameOf(call));
    const isKnown = ([, , target]: Call) => !unknown.includes(target);
    const granted = file.granted.filter(isKnown);
    expect(granted.filter((call) => works(call) === isBroken(call)).map(nameOf)).toEqual([]);
    expect(file.refused.filter((call) => works(call) === true).map(nameOf)).toEqual([]);

    now = new Map([...now.keys()].map((call) => [call, stated.get(call) ?? now.get(call)!]));
    await apply(planned.manifests);
    await Promise.all([expectCalls(stated), expectShown(granted.filter((call) => !isBroken(call))), settled(inside)]);
    const again = await plan(file);
    expect({ resources: again.resources, reach: again.reach, findings: again.findings.map(said) }).toEqual({
      resources: [],
      reach: [],
      findings: planned.findings.map(said),
    });
  });
});
