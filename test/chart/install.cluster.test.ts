/** The chart on a real cluster: installed, tested, taken over and removed, with its network policies in force. */
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { type ClusterWithImage, clusterWithImage, IN, SOON } from './on-cluster.ts';

let on: ClusterWithImage;
const kubectl = (...args: string[]) => on.kubectl(...args);
beforeAll(async () => {
  on = await clusterWithImage();
  await on.prepareNamespace();
});
afterAll(() => on?.remove());

const fromWorkspace = async () => {
  const url = 'https://broker.meshpass.test/.well-known/openid-configuration';
  return (await on.cluster.exec('workspace', ['curl', '-sf', '--max-time', '3', url])).code;
};

it('is installed whole and ready, and its own test passes', async () => {
  expect(await on.install()).toContain('STATUS: deployed');
  expect(await on.helm(undefined, 'test', 'meshpass', ...IN)).toContain('Phase:          Succeeded');
  expect(await fromWorkspace()).toBe(0);
});

it('a second installation changes no key, and a broker that goes is followed by the other', async () => {
  const keys = () => kubectl(...IN, 'get', 'secret', 'meshpass-keys', '-o', 'jsonpath={.metadata.resourceVersion}');
  const before = [await keys(), await on.active()];
  await on.install();
  expect([await keys(), await on.active()]).toEqual(before);
  await kubectl(...IN, 'delete', 'pod', before[1]!, '--wait=false');
  await vi.waitFor(async () => expect(await on.active()).toMatch(/^meshpass-broker-(?!.* )/), SOON);
  await vi.waitFor(
    async () => expect([(await on.active()) === before[1], await fromWorkspace()]).toEqual([false, 0]),
    SOON,
  );
});

it("only the edge reaches the mesh gateway, and no Pod reaches the operators' listeners", async () => {
  const reach = async (selector: string, port: number) => {
    const address = await kubectl(...IN, 'get', 'pods', '-l', selector, '-o', 'jsonpath={.items[0].status.podIP}');
    const argv = ['curl', '-s', '--max-time', '3', '-o', '/dev/null', `telnet://${address}:${port}`];
    // 28: a timeout, before or after the connection; the time to connect shows which.
    const said = ['-w', '%{time_connect}'];
    const { stdout } = await on.cluster.kubectl(['exec', '-n', 'chart-database', 'probe', '--', ...argv, ...said]);
    return Number(stdout) > 0;
  };
  await kubectl(
    'run',
    'probe',
    '-n',
    'chart-database',
    '--image=lab.test/apps:1',
    '--image-pull-policy=IfNotPresent',
    '--command',
    '--',
    'sleep',
    '600',
  );
  await kubectl('wait', '-n', 'chart-database', '--for=condition=Ready', 'pod/probe', '--timeout=60s');
  expect(await reach('app.kubernetes.io/component=edge', 8443)).toBe(true);
  expect(await reach('istio=meshpass-gateway', 15443)).toBe(false);
  expect(await reach('app.kubernetes.io/component=broker', 9090)).toBe(false);
  expect(await reach('app.kubernetes.io/component=edge', 9091)).toBe(false);
});

it('is removed except for the documented rest', async () => {
  await on.helm(undefined, 'uninstall', 'meshpass', ...IN, '--wait');
  const kinds =
    'deployments,services,configmaps,secrets,networkpolicies,poddisruptionbudgets,horizontalpodautoscalers,jobs,roles,rolebindings';
  const left = (await kubectl(...IN, 'get', kinds, '-o', 'name')).trim().split('\n');
  expect(left.filter((name) => /meshpass-(?!(broker|edge)-tls|database|github)/.test(name)).sort()).toEqual([
    'configmap/meshpass-audit-checkpoint',
    'secret/meshpass-keys',
  ]);
  const everywhere = 'clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings';
  expect(await kubectl('get', everywhere, '-o', 'name')).not.toContain('meshpass');
});
