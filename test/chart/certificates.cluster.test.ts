/**
 * docs/rotation.md on a real cluster: the Secrets of broker and edge are replaced while a Codespace calls; both expire; and
 * `helm test` notices, as it does an edge that is not there.
 */
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { issue, type Pair } from './certificate.ts';
import type { Developer } from './developer.ts';
import { type InUse, installationInUse } from './in-use.ts';
import { type ClusterWithImage, IN, SOON } from './on-cluster.ts';

type Part = 'broker' | 'edge';
const PARTS = ['broker', 'edge'] as const;
const EDGES = ['-l', 'app.kubernetes.io/component=edge'];
const hostOf = (part: Part) => `${part}.meshpass.test`;
const CHECK = ['check', '--no-cluster', ...PARTS.flatMap((part) => [`--${part}-address`, `${hostOf(part)}:443`])];

let inUse: InUse;
let on: ClusterWithImage;
let developer: Developer;
const kubectl = (...args: string[]) => on.kubectl(...args);

beforeAll(async () => {
  inUse = await installationInUse();
  ({ on, developer } = inUse);
});
afterAll(() => inUse?.close());

/** Command of the page. */
const replace = async (part: Part, { certFile, keyFile }: Pair) => {
  const pair = [`--cert=${certFile}`, `--key=${keyFile}`];
  const secret = ['create', 'secret', 'tls', `meshpass-${part}-tls`, ...pair, '--dry-run=client', '-o', 'yaml'];
  await kubectl(...IN, 'apply', '-f', '-', await kubectl(...IN, ...secret));
};
/** Changes a Pod, because the kubelet checks a changed Pod at once and not at its turn. */
const hurry = () =>
  kubectl(...IN, 'annotate', 'pods', '-l', 'app.kubernetes.io/name=meshpass', '--overwrite', `at=${Date.now()}`);
const check = async () => (await developer.meshpass(...CHECK)).said;
const shown = async (text: string | RegExp) => {
  await vi.waitFor(async () => expect(await check()).toMatch(text), SOON);
};
const helmTest = async (...flags: string[]) => {
  const args = ['test', 'meshpass', ...IN, '--logs', '--timeout', '90s', ...flags];
  const { code, stdout, stderr } = await on.cluster.helm(args);
  return { code, said: `${stdout}${stderr}` };
};
const pods = (path: string) =>
  kubectl(...IN, 'get', 'pods', '-l', 'app.kubernetes.io/component in (broker,edge)', '-o', `jsonpath=${path}`);
const edges = async () => {
  const names = '{range .items[?(@.metadata.labels.app\\.kubernetes\\.io/component=="edge")]}{.metadata.name} {end}';
  return (await pods(names)).trim().split(' ');
};
const metricsOf = (pod: string, port: number) =>
  kubectl('get', '--raw', `/api/v1/namespaces/meshpass-system/pods/${pod}:${port}/proxy/metrics`);
const endsAt = async (part: Part, pod: string, { notAfter }: Pair) => {
  const wanted = `meshpass_tls_certificate_not_after_timestamp_seconds{component="${part}"} ${notAfter}\n`;
  await vi.waitFor(async () => expect(await metricsOf(pod, part === 'broker' ? 9090 : 9091)).toContain(wanted), SOON);
};
/** Whoever asks meets any of the edges, and the kubelet brings the Secret to one after the other. */
const everyEdgeHas = async (pair: Pair) => {
  for (const edge of await edges()) await endsAt('edge', edge, pair);
};
const dayOf = ({ notAfter }: Pair) => new Date(notAfter * 1000).toISOString().slice(0, 10);

it('helm test asks the broker, and shakes hands with the edge', async () => {
  const { code, said } = await helmTest();
  expect(said).toContain('The certificate for edge.meshpass.test is valid until');
  expect(said.match(/Phase: +Succeeded/g)).toHaveLength(2);
  expect(code).toBe(0);
});

it('renewed certificates are presented without a restart or a failed call, and metrics have their expiry', async () => {
  const restarts = () =>
    pods('{range .items[*]}{.metadata.name} {.status.containerStatuses[0].restartCount}{"\\n"}{end}');
  const before = await restarts();
  const pairs = {
    broker: await issue(on.cluster, hostOf('broker'), 60),
    edge: await issue(on.cluster, hostOf('edge'), 61),
  };
  const took: Partial<Record<Part, number>> = {};
  const seen = await developer.during(async () => {
    const began = performance.now();
    await Promise.all(
      PARTS.map(async (part) => {
        await replace(part, pairs[part]);
        await shown(`${hostOf(part)} is valid until ${dayOf(pairs[part])}`);
        took[part] = Math.round((performance.now() - began) / 1000);
      }),
    );
  });
  console.log(
    `shown after ${took.broker} s by the broker and ${took.edge} s by an edge; ${seen.calls} calls in that time`,
  );
  expect(seen).toEqual({ calls: expect.any(Number), failed: [] });
  expect(await restarts()).toBe(before);
  // Open tunnels carried these calls; a session that begins now has new ones.
  await developer.meshpass('down');
  expect(await developer.meshpass('up')).toMatchObject({ code: 0 });
  expect(await developer.call()).toMatch(/^200 /);
  const active = await on.active();
  await endsAt('broker', active, pairs.broker);
  await everyEdgeHas(pairs.edge);
  expect(await metricsOf(active, 9090)).toMatch(
    /^meshpass_mesh_root_not_after_timestamp_seconds\{root="[0-9a-f]{16}"\} \d{10}$/m,
  );
});

it('an expired certificate of the edge is refused, and clients report which one expired', async () => {
  const expired = await issue(on.cluster, hostOf('edge'), -2);
  await replace('edge', expired);
  await hurry();
  await everyEdgeHas(expired);
  await shown(`${hostOf('edge')} expired on ${dayOf(expired)}`);
  expect(await check()).toContain('create secret tls meshpass-edge-tls');

  // Open tunnels continue; tunnels of an edge that shuts down must be reopened.
  await kubectl(...IN, 'delete', 'pods', ...EDGES);
  await vi.waitFor(async () => expect(await developer.call()).not.toMatch(/^200 /), SOON);
  const edgeSays = `The certificate for edge.meshpass.test expired on ${dayOf(expired)}`;
  await vi.waitFor(async () => expect((await developer.meshpass('doctor')).said).toContain(edgeSays), SOON);
  expect((await developer.meshpass('status')).said).toContain("this workspace does not trust the edge's certificate");
  const helm = await helmTest();
  expect(helm.code).not.toBe(0);
  expect(helm.said).toContain('The certificate for edge.meshpass.test expired on');
});

it('clients refuse an expired certificate of the broker, and tell developers whom to ask', async () => {
  const expired = await issue(on.cluster, hostOf('broker'), -1);
  await replace('broker', expired);
  await hurry();
  await shown(`${hostOf('broker')} expired on ${dayOf(expired)}`);
  await developer.meshpass('down');
  const up = await developer.meshpass('up');
  expect(up.code).not.toBe(0);
  expect(up.said).toContain('its certificate has expired');
  expect(up.said).toContain('Ask your platform team to renew it');
  const doctor = await developer.meshpass('doctor');
  expect(doctor.said).toContain(`The certificate for broker.meshpass.test expired on ${dayOf(expired)}`);
  const helm = await helmTest('--filter', 'name=meshpass-test-broker');
  expect(helm.code).not.toBe(0);
  expect(helm.said).toContain('its certificate has expired');
  await replace('broker', await issue(on.cluster, hostOf('broker'), 60));
  await hurry();
  await shown(`${hostOf('broker')} is valid until`);
});

it('helm test fails, and reports why, if the edge presents a certificate of another name, or does not exist', async () => {
  const elsewhere = await issue(on.cluster, 'elsewhere.meshpass.test', 30);
  await replace('edge', elsewhere);
  await hurry();
  await everyEdgeHas(elsewhere);
  await shown('edge.meshpass.test presents a certificate for elsewhere.meshpass.test');
  const only = ['--filter', 'name=meshpass-test-edge'];
  const other = await helmTest(...only);
  expect(other.code).not.toBe(0);
  expect(other.said).toContain('edge.meshpass.test presents a certificate for elsewhere.meshpass.test');

  await kubectl(...IN, 'scale', 'deployment', 'meshpass-edge', '--replicas=0');
  await kubectl(...IN, 'wait', '--for=delete', 'pods', ...EDGES, '--timeout=120s');
  const none = await helmTest(...only);
  expect(none.code).not.toBe(0);
  expect(none.said).toMatch(/Cannot reach edge\.meshpass\.test:443 \([\d.]+\) from here: /);
});
