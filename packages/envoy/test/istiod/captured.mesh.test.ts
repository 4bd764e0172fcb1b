import { readFileSync } from 'node:fs';
import { type Lab, upLab } from '@meshpass/lab';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { until } from '../../../../test/mesh.ts';
import { checkConfiguration, reduceResource } from '../../src/index.ts';
import { captured, writeCaptured } from '../captured/captured.ts';
import { readable } from '../readable.ts';
import { type Captured, EXPECTED, relayed } from '../relayed.ts';
import { askIstiod } from './ask.ts';
import { startStockIstiod } from './stock.ts';

const NAMESPACE = 'meshpass-capture';
const ACCOUNT = 'meshpass-relay';
const NODE = {
  id: `sidecar~203.0.113.10~${ACCOUNT}.${NAMESPACE}~${NAMESPACE}.svc.cluster.local`,
  cluster: `${ACCOUNT}.${NAMESPACE}`,
  metadata: {
    NAMESPACE,
    SERVICE_ACCOUNT: ACCOUNT,
    INTERCEPTION_MODE: 'NONE',
    CLUSTER_ID: 'Kubernetes',
    MESH_ID: 'cluster.local',
    LABELS: { app: 'workspace' },
    INSTANCE_IPS: '203.0.113.10',
    ISTIO_VERSION: '1.31.0',
  },
};

const objects = parseAllDocuments(readFileSync(new URL('mesh.yaml', import.meta.url), 'utf8')).map((one) => one.toJS());
let withDefaults: Captured;
let withoutFilters: Captured;
let lab: Lab;

beforeAll(async () => {
  lab = await upLab();
  await lab.kubernetes.apply(...objects);
  const token = await lab.kubernetes.serviceAccountToken(NAMESPACE, ACCOUNT, ['istio-ca'], 3_600);
  const ask = async (address: string): Promise<Captured> => {
    const { listeners, clusters, routes } = await askIstiod(address, lab.rootCaPem(), token, NODE);
    const all = (list: typeof listeners) => list.map(readable).sort((a, b) => (`${a.name}` < `${b.name}` ? -1 : 1));
    return { listeners: all(listeners), clusters: all(clusters), routes: all(routes) };
  };
  /** Whether istiod has processed everything in the manifests. */
  const complete = (seen: Captured): boolean =>
    seen.listeners.length === 8 &&
    ['somebodys.lua', 'x-fault', 'consecutive', 'zipkin|file'].every((word) =>
      new RegExp(word).test(JSON.stringify(seen)),
    );
  const stock = await startStockIstiod(lab);
  try {
    const take = (address: string) => until(() => ask(address), complete);
    withDefaults = await take(stock.address);
    withoutFilters = await take(lab.istiodAddress);
  } finally {
    await stock.stop();
  }
  if (process.env.MESHPASS_WRITE_CAPTURED) writeCaptured(withDefaults);
});

afterAll(async () => {
  await lab.kubernetes.remove(...objects.reverse());
  await lab.down();
});

describe("istiod's configuration of a workspace", () => {
  it("passes the gate after the relay's reduction, with default flags and with those of the lab", () => {
    for (const seen of [withDefaults, withoutFilters])
      expect(
        checkConfiguration(
          relayed(seen, (resource) => reduceResource(resource, EXPECTED).resource),
          EXPECTED,
        ),
      ).toEqual([]);
  });

  it('equals the recording for the unit tests', () => {
    const types = (seen: Captured) => [...new Set(JSON.stringify(seen).match(/type\.googleapis\.com\/[\w.]+/g))].sort();
    expect(types(withDefaults)).toEqual(types(captured()));
  });
});
