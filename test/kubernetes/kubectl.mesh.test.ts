/** kubectl in a Codespace, with the roles of a grant: allowed and refused commands, and none after the end. */
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { clusterRoleOf, knownRoles } from '@meshpass/access/compile';
import { type DrillReport, failedRows } from '@meshpass/identity/drill-report';
import { type Lab, upLab } from '@meshpass/lab';
import { ensureKubectl } from '@meshpass/lab/install/tools';
import { API_AUDIT_LOG } from '@meshpass/lab/mesh/control-plane';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DataPath, openDataPath, until } from '../mesh.ts';

let lab: Lab;
let dataPath: DataPath;
let kubectl: string;
let environment: Readonly<Record<string, string | undefined>>;

beforeAll(async () => {
  kubectl = await ensureKubectl(() => {});
  lab = await upLab();
  dataPath = await openDataPath({ kubernetes: true });
});
afterAll(async () => {
  await workspace(['meshpass', 'down']);
  await lab?.kubernetes.call('DELETE', `${CLUSTER_ROLES}/debug`).catch(() => {});
  await dataPath?.close();
  await lab?.down();
});

const CLUSTER_ROLES = '/apis/rbac.authorization.k8s.io/v1/clusterroles';
const workspace = (argv: readonly string[]) => lab.exec('workspace', argv, { env: { ...environment } });
const kube = (...words: string[]) => workspace([kubectl, '--request-timeout=15s', ...words]);

interface Status {
  readonly session: { readonly id: string };
  readonly kubernetes?: {
    readonly kubeconfig: string;
    readonly contexts: readonly { readonly name: string; readonly server: string }[];
  };
}
async function status(): Promise<Status> {
  const { stdout, stderr } = await workspace(['meshpass', 'status', '--output', 'json']);
  expect(stderr).toBe('');
  return JSON.parse(stdout) as Status;
}
async function up(): Promise<Status> {
  environment = await dataPath.environment();
  const { code, stderr } = await workspace(['meshpass', 'up']);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  const { stdout } = await workspace(['meshpass', 'env', '--output', 'json']);
  const { KUBECONFIG } = JSON.parse(stdout) as { readonly KUBECONFIG?: string };
  environment = { ...environment, ...(KUBECONFIG !== undefined && { KUBECONFIG }) };
  return status();
}
async function credential(): Promise<string> {
  const { stdout } = await workspace(['meshpass', 'kubectl-credential']);
  return dataPath.secret((JSON.parse(stdout) as { status: { token: string } }).status.token);
}
interface ApiEvent {
  readonly user: { readonly username: string; readonly extra?: Readonly<Record<string, readonly string[]>> };
  readonly requestURI: string;
  readonly responseStatus?: { readonly code: number };
}
const apiAuditLog = (): ApiEvent[] =>
  readFileSync(join(lab.dir, 'hosts/control', API_AUDIT_LOG), 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as ApiEvent);
/** Asks the API server about a token, from inside the cluster. */
function presented(token: string): Promise<number> {
  const url = `${lab.kubernetes.url}/api/v1/namespaces/shop/pods?limit=1`;
  const options = {
    ca: readFileSync(lab.testCa),
    headers: { authorization: `Bearer ${token}` },
    agent: false,
  } as const;
  return new Promise((resolve, reject) => {
    request(url, options, (answer) => resolve(answer.resume().statusCode!))
      .on('error', reject)
      .end();
  });
}

describe('a developer whose grant has the role view in shop', () => {
  let session: string;
  let account: string;

  beforeAll(async () => {
    session = (await up()).session.id;
    account = `system:serviceaccount:meshpass-payments-dev:alice-${session.slice(0, 12)}`;
  });

  it('has a kubeconfig of their own, without a secret, beside the one of their home', async () => {
    const { kubernetes } = await status();
    expect(kubernetes!.contexts).toMatchObject([{ name: 'meshpass-payments-dev' }]);
    expect(statSync(kubernetes!.kubeconfig).mode & 0o777).toBe(0o600);
    expect(readFileSync(kubernetes!.kubeconfig, 'utf8')).not.toMatch(/token|eyJ/);
    expect(environment.KUBECONFIG).toMatch(new RegExp(`^${kubernetes!.kubeconfig}:.*/\\.kube/config$`));
  });

  it('lists Pods in shop, and is that session to the API server', async () => {
    const { code, stdout, stderr } = await kube('get', 'pods', '-n', 'shop', '-o', 'name');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('pod/orders');
    expect((await kube('get', 'services', '-o', 'name')).stdout, 'in the namespace of the context').toContain(
      'service/orders',
    );
    expect((await kube('auth', 'whoami', '-o', 'json')).stdout).toContain(account);
    const event = await until(apiAuditLog, (all) =>
      all.some((one) => one.requestURI.includes('/namespaces/shop/pods')),
    );
    const seen = event.findLast((one) => one.requestURI.includes('/namespaces/shop/pods'))!;
    expect(seen).toMatchObject({ user: { username: account }, responseStatus: { code: 200 } });
    const [row] = (await dataPath.audit()).filter(({ action }) => action === 'kubernetes.token');
    expect(row).toMatchObject({ outcome: 'allowed', session_id: session, target: account, login: 'alice' });
    expect(seen.user.extra!['authentication.kubernetes.io/credential-id']).toEqual([
      JSON.parse(row!.detail!).credentialId,
    ]);
  });

  it('learns from the doctor that kubectl works', async () => {
    const { stdout } = await workspace(['meshpass', 'doctor', '--output', 'json']);
    expect(stdout).toMatch(/"check": ?"kubectl",\s*"state": ?"ok"/);
  });

  it.each([
    [
      'Pods of kube-system',
      ['get', 'pods', '-n', 'kube-system'],
      /cannot list resource "pods" in API group "" in the namespace "kube-system"/,
    ],
    ['Secrets of shop', ['get', 'secrets', '-n', 'shop'], /cannot list resource "secrets"/],
    [
      'a token of another ServiceAccount',
      ['create', 'token', 'orders', '-n', 'shop'],
      /cannot create resource "serviceaccounts\/token"/,
    ],
    ['a Pod of their own', ['run', 'x', '-n', 'shop', '--image', 'x'], /cannot create resource "pods"/],
    ['nodes', ['get', 'nodes'], /cannot list resource "nodes"/],
    ['to be somebody else', ['get', 'pods', '-n', 'shop', '--as', 'admin'], /cannot impersonate resource "users"/],
  ])('is refused %s', async (_, words, message) => {
    const { code, stderr } = await kube(...words);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(message);
  });

  it('is refused exec, attach and port-forward', async () => {
    const [pod] = (await kube('get', 'pods', '-n', 'shop', '-l', 'app=orders', '-o', 'name')).stdout.split('\n');
    expect(pod).toMatch(/^pod\//);
    for (const [words, part] of [
      [['exec', '-n', 'shop', pod!, '--', 'id'], 'pods/exec'],
      [['attach', '-n', 'shop', pod!], 'pods/attach'],
      [['port-forward', '-n', 'shop', pod!, '18080:8080'], 'pods/portforward'],
    ] as const) {
      const { code, stderr } = await kube(...words);
      expect({ part, code: code === 0, stderr }).toMatchObject({ code: false });
      const event = await until(
        () => apiAuditLog().findLast(({ requestURI }) => requestURI.includes(part.slice('pods'.length))),
        (found) => found !== undefined,
      );
      expect(event).toMatchObject({ user: { username: account }, responseStatus: { code: 403 } });
    }
  });

  it('gets no token, and no context, while the grant has no roles', async () => {
    const written = readFileSync(dataPath.meshpass.accessFile, 'utf8');
    writeFileSync(dataPath.meshpass.accessFile, written.replace(/^.*kubernetes:.*\n/m, ''));
    await until(status, ({ kubernetes }) => kubernetes === undefined, 60);
    expect((await workspace(['meshpass', 'kubectl-credential'])).stderr).toContain('[kubernetes_not_granted]');
    writeFileSync(dataPath.meshpass.accessFile, written);
    await until(status, ({ kubernetes }) => kubernetes !== undefined, 60);
    expect((await kube('get', 'pods', '-n', 'shop', '-o', 'name')).code).toBe(0);
  });

  it('loses an open watch, new connections and the token with the session', async () => {
    const token = await credential();
    expect(await presented(token)).toBe(200);
    const watching = kube('get', 'pods', '-n', 'shop', '--watch', '--request-timeout=0');
    await until(apiAuditLog, (all) => all.some(({ requestURI }) => /shop\/pods\?.*watch=true/.test(requestURI)));
    const headers = { authorization: `Bearer ${dataPath.meshpass.operatorToken}`, 'content-type': 'application/json' };
    const began = Date.now();
    const closed = await fetch(`${dataPath.meshpass.operatorUrl}/admin/sessions/close`, {
      method: 'POST',
      headers,
      body: JSON.stringify({ id: session }),
    });
    expect(closed.status, await closed.text()).toBe(200);
    await watching;
    const cutAfter = Date.now() - began;
    await until(
      () => presented(token),
      (code) => code === 401,
      30,
    );
    const tokenDeadAfter = Date.now() - began;
    process.stderr.write(
      `kubectl: watch cut after ${cutAfter} ms, a token that was in use refused after ${tokenDeadAfter} ms\n`,
    );
    expect(await dataPath.audit()).toContainEqual(
      expect.objectContaining({
        action: 'tunnel',
        outcome: 'ended',
        session_id: session,
        target: 'kubernetes.default.svc:443',
      }),
    );
  });
});

describe('the role of a grant', () => {
  it.each(['view', 'edit', 'admin'])('%s allows in a cluster what is taken for granted without one', async (name) => {
    const { items } = (await lab.kubernetes.call('GET', CLUSTER_ROLES)) as {
      items: Parameters<typeof clusterRoleOf>[0][];
    };
    const powers = (roles: ReturnType<typeof clusterRoleOf>[]) => [...knownRoles(roles).get(name)!.powers].sort();
    expect(powers(items.map(clusterRoleOf))).toEqual(powers([]));
  });

  it('is taken off when it gains a power, and bound again when it has lost it', async () => {
    const rule = (resources: string[], verbs: string[]) => ({ apiGroups: [''], resources, verbs });
    const bindings = async () => {
      const path = '/apis/rbac.authorization.k8s.io/v1/namespaces/shop/rolebindings';
      const { items } = (await lab.kubernetes.call('GET', path)) as { items: { metadata: { name: string } }[] };
      return items.map(({ metadata }) => metadata.name);
    };
    // The broker may bind view alone here, and an access file cannot change that; so it is view that changes.
    const added = (rules: unknown[]) => ({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      rules,
      metadata: { name: 'debug', labels: { 'rbac.authorization.k8s.io/aggregate-to-view': 'true' } },
    });
    expect(await bindings()).toContain('meshpass-payments-dev.view');
    await lab.kubernetes.apply(added([rule(['secrets'], ['get'])]));
    await until(bindings, (names) => !names.includes('meshpass-payments-dev.view'), 60);
    expect(dataPath.meshpass.log()).toContain('the ClusterRole view allows secrets');
    await lab.kubernetes.apply(added([rule(['configmaps'], ['get'])]));
    await until(bindings, (names) => names.includes('meshpass-payments-dev.view'), 60);
  });
});

it('is dead after the session according to the drill', async () => {
  await workspace(['meshpass', 'down']);
  environment = await dataPath.environment();
  const { stdout, stderr } = await workspace(['meshpass', 'drill', '--output', 'json']);
  const { rows } = JSON.parse(stdout) as DrillReport;
  const about = rows.filter(({ layer, tried }) => layer === 'Kubernetes token' || tried.includes('API server'));
  expect(about.map(({ part, layer, outcome }) => `${part} ${layer} ${outcome}`).sort(), stderr).toEqual([
    'before Kubernetes token lives',
    'before edge lives',
    'connections edge dead',
    'replays Kubernetes token dead',
    'replays edge dead',
  ]);
  expect(failedRows({ rows } as DrillReport)).toEqual([]);
});

it('keeps no token in log or audit log', async () => {
  await dataPath.expectNoSecretKept();
});
