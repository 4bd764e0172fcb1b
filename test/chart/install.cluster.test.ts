/** The chart on a real cluster: installed, tested, taken over and removed, with its network policies in force. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Cluster, upCluster } from '@meshpass/lab/cluster';
import { must } from '@meshpass/lab/run';
import { standIns } from '@meshpass/lab/stand-ins';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { parse, stringify } from 'yaml';
import { CHART } from './helm.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const IN = ['-n', 'meshpass-system'];
const SOON = { timeout: 120_000, interval: 500 };

let cluster: Cluster;
beforeAll(async () => {
  await must(['npm', 'run', '--silent', 'build:image'], 'lab_install', { cwd: ROOT });
  cluster = await upCluster();
  await cluster.load(join(ROOT, `dist/image/meshpass-linux-${process.arch}.oci.tar`));
  const tls = (file: string) => join(cluster.dir, 'tls', file);
  await kubectl('apply', '-f', '-', database());
  await kubectl('create', 'namespace', 'meshpass-system');
  await kubectl('label', 'namespace', 'meshpass-system', 'pod-security.kubernetes.io/enforce=restricted');
  for (const part of ['broker', 'edge']) {
    const pair = [`--cert=${tls(`${part}.meshpass.test.crt`)}`, `--key=${tls(`${part}.meshpass.test.key`)}`];
    await kubectl(...IN, 'create', 'secret', 'tls', `meshpass-${part}-tls`, ...pair);
  }
  await kubectl(...IN, 'create', 'configmap', 'lab-ca', `--from-file=ca.crt=${tls('ca.crt')}`);
  const url = 'postgres://meshpass@db.chart-database.svc:5432/meshpass';
  await kubectl(...IN, 'create', 'secret', 'generic', 'meshpass-database', `--from-literal=url=${url}`);
  const key = join(cluster.dir, 'hosts/github/github/github-app.pem');
  await kubectl(...IN, 'create', 'secret', 'generic', 'meshpass-github', `--from-file=private-key.pem=${key}`);
});
afterAll(async () => {
  const ours = ['-l', 'app.kubernetes.io/managed-by=meshpass', '--ignore-not-found'];
  const kinds =
    'gateways.networking.istio.io,authorizationpolicies,requestauthentications,sidecars.networking.istio.io,rolebindings';
  await cluster?.kubectl(['delete', kinds, '-A', ...ours]);
  await cluster?.kubectl(['delete', 'namespaces', ...ours]);
  await cluster?.kubectl(['delete', 'namespace', 'meshpass-system', 'chart-database', '--ignore-not-found']);
  await cluster?.down();
});

/** The last argument is its input where the one before it is `-`. */
async function kubectl(...args: string[]): Promise<string> {
  const input = args.at(-2) === '-' ? args.pop() : undefined;
  const { code, stdout, stderr } = await cluster.kubectl(args, input === undefined ? {} : { input });
  if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
  return stdout;
}

async function helm(input: string | undefined, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await cluster.helm(args, input === undefined ? {} : { input });
  if (code !== 0) throw new Error(`helm ${args.join(' ')}: ${stderr} ${stdout}`);
  return stdout;
}

/** The sample's PostgreSQL, in a namespace of its own. */
function database(): string {
  const shop = readFileSync(join(ROOT, 'lab/src/cluster/manifests/shop.yaml'), 'utf8').replaceAll('ledger-db', 'db');
  const { items } = parse(shop) as { items: { kind: string; metadata: { name: string } }[] };
  const mine = items.filter(({ kind, metadata }) => metadata.name === 'db' && kind !== 'ConfigMap');
  const text = stringify({ apiVersion: 'v1', kind: 'List', items: mine });
  const init = 'CREATE ROLE meshpass LOGIN;\nCREATE DATABASE meshpass OWNER meshpass;\n';
  const metadata = { name: 'db', namespace: 'chart-database' };
  return [
    stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'chart-database' } }),
    stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { 'postgres.sql': init } }),
    text.replaceAll('namespace: shop', 'namespace: chart-database').replaceAll('- ledger', '- meshpass'),
  ].join('---\n');
}

const VALUES = async () => {
  const resources = { requests: { cpu: '10m', memory: '64Mi' } };
  return stringify({
    broker: { host: 'broker.meshpass.test', resources },
    edge: { host: 'edge.meshpass.test', resources },
    gateway: { replicas: 1, resources },
    certificates: { trust: { configMap: 'lab-ca' } },
    access: { content: readFileSync(join(ROOT, 'lab/samples/access.yaml'), 'utf8') },
    github: { appId: String((await standIns(cluster).github.app()).id), api: 'https://api.github.test' },
    database: { secret: 'meshpass-database' },
  });
};

const active = () =>
  kubectl(...IN, 'get', 'pods', '-l', 'meshpass.dev/active=true', '-o', 'jsonpath={.items[*].metadata.name}');
const fromWorkspace = async () => {
  const url = 'https://broker.meshpass.test/.well-known/openid-configuration';
  return (await cluster.exec('workspace', ['curl', '-sf', '--max-time', '3', url])).code;
};

it('is installed whole and ready, and its own test passes', async () => {
  const install = ['upgrade', '--install', 'meshpass', CHART, ...IN, '-f', '-', '--wait', '--timeout', '4m'];
  expect(await helm(await VALUES(), ...install)).toContain('STATUS: deployed');
  expect(await helm(undefined, 'test', 'meshpass', ...IN)).toContain('Phase:          Succeeded');
  expect(await fromWorkspace()).toBe(0);
});

it('a second installation changes no key, and a broker that goes is followed by the other', async () => {
  const keys = () => kubectl(...IN, 'get', 'secret', 'meshpass-keys', '-o', 'jsonpath={.metadata.resourceVersion}');
  const before = [await keys(), await active()];
  await helm(await VALUES(), 'upgrade', 'meshpass', CHART, ...IN, '-f', '-', '--wait', '--timeout', '4m');
  expect([await keys(), await active()]).toEqual(before);
  await kubectl(...IN, 'delete', 'pod', before[1]!, '--wait=false');
  await vi.waitFor(async () => expect(await active()).toMatch(/^meshpass-broker-(?!.* )/), SOON);
  await vi.waitFor(
    async () => expect([(await active()) === before[1], await fromWorkspace()]).toEqual([false, 0]),
    SOON,
  );
});

it('nobody but the edge reaches the mesh gateway, nor anybody the operators’ listeners', async () => {
  const reach = async (selector: string, port: number) => {
    const address = await kubectl(...IN, 'get', 'pods', '-l', selector, '-o', 'jsonpath={.items[0].status.podIP}');
    const argv = ['curl', '-s', '--max-time', '3', '-o', '/dev/null', `telnet://${address}:${port}`];
    // 28: connected or not, nothing came; the time to connect says which.
    const said = ['-w', '%{time_connect}'];
    const { stdout } = await cluster.kubectl(['exec', '-n', 'chart-database', 'probe', '--', ...argv, ...said]);
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

it('is removed but for what it says that it keeps', async () => {
  await helm(undefined, 'uninstall', 'meshpass', ...IN, '--wait');
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
