/** Shared set-up of the chart's cluster tests: the loaded image, a separate PostgreSQL, and the Secrets of an installation. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Cluster, upCluster } from '@meshpass/lab/cluster';
import { must } from '@meshpass/lab/run';
import { standIns } from '@meshpass/lab/stand-ins';
import { parse, stringify } from 'yaml';
import { CHART } from './helm.ts';

export interface ClusterWithImage {
  readonly cluster: Cluster;
  /** Runs kubectl. After an argument `-`, the last argument is its input. @throws Error with its output */
  kubectl(...args: string[]): Promise<string>;
  /** Runs Helm. @throws Error with its output */
  helm(input: string | undefined, ...args: string[]): Promise<string>;
  /** Runs `helm upgrade --install` and waits; merges `changes` into the values, one level deep. @param chart default: this one */
  install(changes?: Changes, chart?: string): Promise<string>;
  /** What `helm template` prints of the same values: a tool that renders a chart cannot look anything up in the cluster. */
  render(changes?: Changes): Promise<string>;
  /** Names of the brokers that are active, with spaces between. */
  active(): Promise<string>;
  /** Creates the namespace of the release with the Secrets that it expects. */
  prepareNamespace(): Promise<void>;
  /** Runs statements in the database of the brokers, or another. @returns unaligned rows */
  sql(statements: string, database?: string): Promise<string>;
  /** Removes the installation, and the cluster with its last user. */
  remove(): Promise<void>;
}
export type Changes = Readonly<Record<string, object | string | boolean>>;

export const IN = ['-n', 'meshpass-system'];
/** How long a Pod may take to be replaced on a busy machine. */
export const SOON = { timeout: 120_000, interval: 500 };
/** Objects that the broker wrote into the mesh, removed as in docs/install/removal.md. */
const REMOVE_FROM_MESH = [
  'delete gateways.networking.istio.io -A -l app.kubernetes.io/managed-by=meshpass',
  'delete authorizationpolicies,requestauthentications,sidecars.networking.istio.io,rolebindings -A -l app.kubernetes.io/managed-by=meshpass',
  'delete namespaces -l app.kubernetes.io/managed-by=meshpass',
] as const;

/** Operator of these tests. */
export const OPERATOR = 'platform-team';
const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const DATABASE = 'chart-database';
/** The access file that is installed. */
export const ACCESS = `${readFileSync(join(ROOT, 'lab/samples/access.yaml'), 'utf8')}operators:
  serviceAccounts: [{serviceAccount: meshpass-system/${OPERATOR}, roles: [admin]}]
`;

export async function clusterWithImage(): Promise<ClusterWithImage> {
  await must(['npm', 'run', '--silent', 'build:image'], 'lab_install', { cwd: ROOT });
  const cluster = await upCluster();
  await cluster.load(join(ROOT, `dist/image/meshpass-linux-${process.arch}.oci.tar`));
  const kubectl = async (...args: string[]): Promise<string> => {
    const input = args.at(-2) === '-' ? args.pop() : undefined;
    const { code, stdout, stderr } = await cluster.kubectl(args, input === undefined ? {} : { input });
    if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
    return stdout;
  };
  const helm = async (input: string | undefined, ...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await cluster.helm(args, input === undefined ? {} : { input });
    if (code !== 0) throw new Error(`helm ${args.join(' ')}: ${stderr} ${stdout}`);
    return stdout;
  };
  const tls = (file: string) => join(cluster.dir, 'tls', file);
  const psql = (database: string) => ['psql', '-h', '/tmp', '-U', 'postgres', '-d', database, '-Atc'];
  await kubectl('apply', '-f', '-', database());
  await kubectl('rollout', 'status', '-n', DATABASE, 'deployment/db', '--timeout=120s');
  return {
    cluster,
    kubectl,
    helm,
    install: async (changes = {}, chart = CHART) =>
      helm(
        stringify(await values(cluster, changes)),
        ...['upgrade', '--install', 'meshpass', chart, ...IN, '-f', '-', '--wait', '--timeout', '8m'],
      ),
    render: async (changes = {}) => {
      const version = ['--kube-version', cluster.versions.kubernetes!];
      return helm(
        stringify(await values(cluster, changes)),
        'template',
        'meshpass',
        CHART,
        ...IN,
        ...version,
        '-f',
        '-',
      );
    },
    active: () =>
      kubectl(...IN, 'get', 'pods', '-l', 'meshpass.dev/active=true', '-o', 'jsonpath={.items[*].metadata.name}'),
    prepareNamespace: async () => {
      await kubectl('create', 'namespace', 'meshpass-system');
      await kubectl('label', 'namespace', 'meshpass-system', 'pod-security.kubernetes.io/enforce=restricted');
      for (const part of ['broker', 'edge']) {
        const pair = [`--cert=${tls(`${part}.meshpass.test.crt`)}`, `--key=${tls(`${part}.meshpass.test.key`)}`];
        await kubectl(...IN, 'create', 'secret', 'tls', `meshpass-${part}-tls`, ...pair);
      }
      await kubectl(...IN, 'create', 'serviceaccount', OPERATOR);
      await kubectl(...IN, 'create', 'configmap', 'lab-ca', `--from-file=ca.crt=${tls('ca.crt')}`);
      const url = `postgres://meshpass@db.${DATABASE}.svc:5432/meshpass`;
      await kubectl(...IN, 'create', 'secret', 'generic', 'meshpass-database', `--from-literal=url=${url}`);
      const key = join(cluster.dir, 'hosts/github/github/github-app.pem');
      await kubectl(...IN, 'create', 'secret', 'generic', 'meshpass-github', `--from-file=private-key.pem=${key}`);
    },
    sql: (statements, at = 'meshpass') =>
      kubectl('exec', '-n', DATABASE, 'deploy/db', '-c', 'postgres', '--', ...psql(at), statements),
    remove: async () => {
      await removeInstallation(cluster, DATABASE);
      await cluster.down();
    },
  };
}

/**
 * Removes the release, its namespace and others, and the broker's objects in the mesh. The cluster stays for the next
 * test. Pods do not drain, which would take an edge a minute.
 */
export async function removeInstallation(cluster: Cluster, ...others: string[]): Promise<void> {
  const all = ['meshpass-system', ...others];
  await cluster.helm(['uninstall', 'meshpass', ...IN, '--ignore-not-found']);
  await cluster.kubectl(['delete', 'namespace', ...all, '--ignore-not-found', '--wait=false']);
  // Nothing creates a Pod in a namespace that is being deleted.
  for (const one of all) await cluster.kubectl(['delete', 'pods', '--all', '-n', one, '--grace-period=1']);
  await cluster.kubectl(['wait', '--for=delete', ...all.map((one) => `namespace/${one}`), '--timeout=120s']);
  for (const line of REMOVE_FROM_MESH) await cluster.kubectl([...line.split(' '), '--ignore-not-found']);
}

/** The sample's PostgreSQL, in a namespace of its own. */
function database(): string {
  const shop = readFileSync(join(ROOT, 'lab/src/cluster/manifests/shop.yaml'), 'utf8').replaceAll('ledger-db', 'db');
  const { items } = parse(shop) as { items: { kind: string; metadata: { name: string } }[] };
  const mine = items.filter(({ kind, metadata }) => metadata.name === 'db' && kind !== 'ConfigMap');
  const text = stringify({ apiVersion: 'v1', kind: 'List', items: mine });
  const init = 'CREATE ROLE meshpass LOGIN;\nCREATE DATABASE meshpass OWNER meshpass;\n';
  const metadata = { name: 'db', namespace: DATABASE };
  return [
    stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: DATABASE } }),
    stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { 'postgres.sql': init } }),
    text.replaceAll('namespace: shop', `namespace: ${DATABASE}`).replaceAll('- ledger', '- meshpass'),
  ].join('---\n');
}

async function values(cluster: Cluster, changes: Changes): Promise<Record<string, unknown>> {
  const resources = { requests: { cpu: '10m', memory: '64Mi' } };
  const first: Record<string, object> = {
    broker: { host: 'broker.meshpass.test', resources },
    edge: { host: 'edge.meshpass.test', resources },
    gateway: { resources },
    certificates: { trust: { configMap: 'lab-ca' } },
    access: { content: ACCESS },
    github: { appId: String((await standIns(cluster).github.app()).id), api: 'https://api.github.test' },
    database: { secret: 'meshpass-database' },
  };
  const merged = Object.entries(changes).map(([name, change]) => [
    name,
    typeof change === 'object' ? { ...first[name], ...change } : change,
  ]);
  return { ...first, ...Object.fromEntries(merged) };
}
