/**
 * The installation and its access from a folder of a Git repository, as docs/install/gitops.md and docs/access/ways-to-change-access.md
 * say: what Argo CD synchronizes with applies the rendered chart, the access file and the policies that it compiles to.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { must } from '@meshpass/lab/run';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { parseAllDocuments, stringify } from 'yaml';
import { type Developer, developerOf } from '../chart/developer.ts';
import type { Rendered } from '../chart/helm.ts';
import { ACCESS, type ClusterWithImage, clusterWithImage, IN, SOON } from '../chart/on-cluster.ts';

const MESHPASS = [process.execPath, fileURLToPath(new URL('../../packages/cli/src/main.ts', import.meta.url))];
/** A wider grant, and another one. */
const WITH_MORE = ACCESS.replace(
  '[GET /orders/*]}',
  `[GET /orders/*, GET /whoami]}
  payments-sql:
    who:
      - {team: acme/payments, repository: acme/payments-*}
    to:
      - {service: ledger-db.shop, port: 5432}`,
);
const OF_MORE = ['get', 'authorizationpolicy', 'meshpass-guard-payments-sql', '-n', 'istio-system', '-o', 'name'];
const GUARD = ['authorizationpolicy', 'meshpass-guard-payments-dev', '-n', 'istio-system'];

let on: ClusterWithImage;
let folder: string;
let controller: Controller | undefined;
let developer: Developer | undefined;

beforeAll(async () => {
  on = await clusterWithImage();
  await on.prepareNamespace();
  folder = mkdtempSync(join(tmpdir(), 'meshpass-gitops-'));
  await git('init', '-q');
});
afterAll(async () => {
  await developer?.close();
  controller?.stop();
  await on?.remove();
  rmSync(folder, { recursive: true, force: true });
});

const git = (...args: string[]) =>
  must(['git', '-c', 'user.name=ci', '-c', 'user.email=ci@acme.example', ...args], 'lab_start', { cwd: folder });

/** Commits files, and removes those whose text is undefined. */
async function commit(files: Readonly<Record<string, string | undefined>>): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    if (text === undefined) rmSync(path);
    else writeFileSync(path, text);
  }
  await git('add', '--all');
  await git('commit', '-q', '-m', Object.keys(files).join(', '));
}

/** What a job of CI commits for an access file, after its plan. */
async function accessFiles(text: string): Promise<Record<string, string>> {
  const file = join(folder, 'access.yaml.draft');
  writeFileSync(file, text);
  const of = ['--access', file, '--public-url', 'https://broker.meshpass.test', '--kubeconfig', on.cluster.kubeconfig];
  await must([...MESHPASS, 'policy', 'plan', ...of], 'lab_start');
  const compiled = await must([...MESHPASS, 'policy', 'compile', ...of], 'lab_start');
  rmSync(file);
  const metadata = { name: 'access-file', namespace: 'meshpass-system' };
  const map = { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { 'access.yaml': text } };
  return { 'mesh/access-file.yaml': stringify(map), 'mesh/meshpass.yaml': compiled };
}

/**
 * The chart as plain objects, without its tests. The program here would wait for a hook or a wave forever, because it reads what is
 * live only before it begins; Argo CD runs the hooks as `PreSync`.
 */
function asPlainObjects(chart: string): string {
  const objects = parseAllDocuments(chart, { version: '1.1' }).map((document) => document.toJS() as Rendered | null);
  const plain = objects.flatMap((object) => {
    const { annotations = {} } = object?.metadata ?? {};
    if (object === null || annotations['helm.sh/hook'] === 'test') return [];
    const kept = Object.entries(annotations).filter(([name]) => !/^helm\.sh\/hook|\/sync-wave$/.test(name));
    return [{ ...object, metadata: { ...object.metadata, annotations: Object.fromEntries(kept) } }];
  });
  return plain.map((object) => stringify(object)).join('---\n');
}

interface Controller {
  /** Synchronizes once, as after a push. @returns a line for each object that it changed or looked at */
  sync(): Promise<string>;
  stop(): void;
}

async function startController(): Promise<Controller> {
  const port = await freePort();
  // By itself it would synchronize, and run the chart's hooks, as often as this: Argo CD does only if something differs.
  const flags = ['--resync-seconds', '86400', '--port', String(port), '--default-namespace', 'meshpass-system'];
  const child: ChildProcess = spawn(on.cluster.binaries.gitopsAgent, [folder, ...flags], {
    env: on.cluster.environment() as NodeJS.ProcessEnv,
    stdio: ['ignore', 'pipe', openSync(join(on.cluster.dir, 'logs/gitops-agent.log'), 'w')],
  });
  let printed = '';
  child.stdout!.on('data', (chunk: Buffer) => {
    printed += chunk;
  });
  const ended = once(child, 'close');
  /** It prints a table after each. */
  const next = async (from: number) => {
    await vi.waitFor(() => {
      if (child.exitCode !== null) throw new Error(`the controller ended with ${child.exitCode}`);
      expect(printed.slice(from)).toMatch(/^RESOURCE/m);
    }, SOON);
    return printed.slice(from);
  };
  await next(0);
  return {
    sync: async () => {
      const from = printed.length;
      await fetch(`http://127.0.0.1:${port}/api/v1/sync`);
      return await next(from);
    },
    stop: () => {
      child.kill();
      ended.catch(() => {});
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0);
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

const sync = () => controller!.sync();
const exists = async (args: readonly string[]) => (await on.kubectl(...args, '--ignore-not-found')) !== '';

it('is installed whole by the first synchronization, and its access file is in force', async () => {
  const services = ['orders.shop', 'ledger-db.shop'];
  const access = { content: undefined, configMap: 'access-file' };
  const chart = await on.render({ gitops: true, access, admission: { services } });
  await commit({ 'meshpass/chart.yaml': asPlainObjects(chart), ...(await accessFiles(ACCESS)) });
  controller = await startController();
  for (const part of ['broker', 'edge', 'gateway'])
    await on.kubectl(...IN, 'rollout', 'status', `deployment/meshpass-${part}`, '--timeout=240s');
  developer = await developerOf(on.cluster);
  expect(await developer.call('/orders/1')).toMatch(/^200 /);
  expect(await developer.call('/whoami')).toMatch(/^403 /);
});

it('a second synchronization neither prunes nor changes what the broker writes, and no call fails', async () => {
  const written = async () => {
    const mine = ['-A', '-l', 'app.kubernetes.io/managed-by=meshpass', '-o', 'name'];
    const version = ['-o', 'jsonpath={.metadata.resourceVersion}'];
    return {
      mesh: await on.kubectl('get', 'serviceaccounts,requestauthentications,namespaces', ...mine),
      keys: await on.kubectl(...IN, 'get', 'secret', 'meshpass-keys', ...version),
    };
  };
  const checkpoint = () =>
    on.kubectl(...IN, 'get', 'configmap', 'meshpass-audit-checkpoint', '-o', 'jsonpath={.data.size}');
  const before = await written();
  expect(before.mesh).toMatch(/^serviceaccount\/alice-/m);
  const size = await vi.waitFor(async () => {
    const noted = Number(await checkpoint());
    expect(noted).toBeGreaterThan(0);
    return noted;
  }, SOON);
  expect(await developer!.during(sync)).toEqual({ calls: expect.any(Number), failed: [] });
  expect(await written()).toEqual(before);
  expect(Number(await checkpoint())).toBeGreaterThanOrEqual(size);
});

it('a change of the access file, planned and committed with what it compiles to, is in force after the next one', async () => {
  await commit(await accessFiles(WITH_MORE));
  expect(await sync()).toContain('AuthorizationPolicy');
  expect(await exists(OF_MORE)).toBe(true);
  await vi.waitFor(async () => expect(await developer!.call('/whoami')).toMatch(/^200 /), SOON);
});

it('brings back the guard that someone deleted', async () => {
  await on.kubectl('delete', ...GUARD);
  await sync();
  expect(await exists(['get', ...GUARD, '-o', 'name'])).toBe(true);
});

it('prunes the policies of what a reverted commit had granted', async () => {
  await git('revert', '--no-edit', 'HEAD');
  await sync();
  await vi.waitFor(async () => expect(await exists(OF_MORE)).toBe(false), SOON);
  await vi.waitFor(async () => expect(await developer!.call('/whoami')).toMatch(/^403 /), SOON);
  expect(await developer!.call('/orders/1')).toMatch(/^200 /);
});

it('prunes the installation if the folder no longer has it, except for what the page lists', async () => {
  await developer!.close();
  developer = undefined;
  await commit({ 'meshpass/chart.yaml': undefined });
  await sync();
  await vi.waitFor(async () => {
    const left = await on.kubectl(...IN, 'get', 'deployments,services,secrets', '-o', 'name');
    const names = left.trim().split('\n');
    expect(names.filter((name) => !/-tls$/.test(name))).toEqual([
      'secret/meshpass-database',
      'secret/meshpass-github',
      'secret/meshpass-keys',
    ]);
  }, SOON);
});
