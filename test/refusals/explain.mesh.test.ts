/** A refusal explains itself, from the answer to the audit log, and a call gets the outcome that `meshpass explain` states. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KubeObject } from '@meshpass/lab/kubernetes';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DataPath, openDataPath, until } from '../mesh.ts';
import { CURL, SQL } from '../traffic/traffic-in-the-mesh.ts';

const WORKFLOW = 'acme/payments-api/.github/workflows/ci.yml@refs/heads/main';
const ISSUER = 'https://token.actions.test:9443';
const REPOSITORY = '7001';
const DELETE = ['http://orders.shop:8080/orders/1', '--method', 'DELETE'];

let dataPath: DataPath;
let session: string;
let repository: string;

beforeAll(async () => {
  repository = mkdtempSync(join(tmpdir(), 'meshpass-explain-'));
  dataPath = await openDataPath({
    flags: [
      ...['--lease', '30'],
      ...['--policy-repository', REPOSITORY, '--policy-issuer', ISSUER, '--policy-workflow', WORKFLOW],
    ],
  });
  const env = await dataPath.environment('alice');
  const { code, stdout, stderr } = await dataPath.lab.exec('workspace', ['meshpass', 'up'], { env });
  expect({ code, stderr }).toMatchObject({ code: 0 });
  session = /Session (\S+),/.exec(stdout)![1]!;
});
afterAll(async () => {
  await dataPath?.lab.exec('workspace', ['meshpass', 'down']);
  await dataPath?.close();
  if (repository) rmSync(repository, { recursive: true, force: true });
});

const workspace = (argv: readonly string[]) =>
  dataPath.lab.exec('workspace', argv, { env: { PGCONNECT_TIMEOUT: '5' } });
const explain = (...argv: readonly string[]) => workspace(['meshpass', 'explain', ...argv]);
async function curl(url: string, method = 'GET'): Promise<{ status: number; body: string }> {
  const { stdout } = await workspace([...CURL, '-X', method, url]);
  const at = stdout.lastIndexOf('\n');
  return { status: Number(stdout.slice(at + 1)), body: stdout.slice(0, at).trim() };
}
/** Audit rows as an operator sees them. */
async function audited(ok: (row: Record<string, string | null>) => boolean) {
  const tail = ['meshpass', 'audit', 'tail', '--session', session, '--lines', '1000', '--output', 'json'];
  const { operatorUrl, operatorToken } = dataPath.meshpass;
  const env = { MESHPASS_OPERATOR_TOKEN: operatorToken };
  return await until(
    async () => {
      const { stdout } = await dataPath.lab.exec('meshpass', [...tail, '--operator', operatorUrl], { env });
      const rows = stdout.split('\n').filter(Boolean);
      return rows.map((line) => JSON.parse(line) as Record<string, string | null>).find(ok);
    },
    (row) => row !== undefined,
    60,
  );
}

describe('a call that is refused', () => {
  it('names session and request, so that the audit log shows its hop, grant and line', async () => {
    const { status, body } = await curl('http://orders.shop:8080/admin/users?key=a-secret-of-the-program');
    expect(status).toBe(403);
    const [, named, request] = /session (\S+), request ([0-9a-f-]{36})/.exec(body) ?? [];
    expect(named).toBe(session);
    const row = await audited((one) => one.request_id === request);
    expect(row).toMatchObject({
      action: 'request',
      outcome: 'refused',
      code: 'agent_policy_refused',
      login: 'alice',
      session_id: session,
      target: 'orders.shop.svc.cluster.local:8080',
      grant_name: 'payments-dev',
      rule: expect.stringMatching(/^payments-dev access\.yaml:\d+:\d+$/),
      reason: expect.stringMatching(/^Unverified report from the workspace: the service's policy denied a GET request/),
    });
    expect(JSON.parse(row!.detail!)).toMatchObject({ reportedBy: 'workspace', hop: 'workload', status: 403 });
    expect(JSON.stringify(row)).not.toMatch(/secret|\/admin/);
  });

  it('is explained by the command that its answer names', async () => {
    const { body } = await curl('http://orders.shop:8080/admin/users');
    expect(body).toContain('Next: meshpass explain --last');
    await until(
      () => explain('--last'),
      ({ code, stdout }) => code === 1 && stdout.includes('grant payments-dev does not allow GET /admin/users'),
    );
  });
});

describe('the explanation of a call before it is made', () => {
  it.each([
    ['allowed', 'GET', 'http://orders.shop:8080/orders/1', 200, 'by GET /orders/*'],
    ['allowed', 'GET', 'http://orders.shop.svc.cluster.local:8080/whoami', 200, 'by GET /whoami'],
    ['allowed', 'POST', 'http://orders.shop:8080/refunds', 201, 'by POST /refunds'],
    ['refused', 'DELETE', 'http://orders.shop:8080/orders/1', 403, 'does not allow DELETE /orders/1'],
    ['refused', 'GET', 'http://orders.shop:8080/admin', 403, 'does not allow GET /admin'],
    ['refused', 'GET', 'http://orders.shop:8080/orders/../admin', 403, 'does not allow GET /admin'],
    ['refused', 'GET', 'http://orders.shop:9090/', 0, 'no grant in this session contains port 9090'],
    ['refused', 'GET', 'http://web.dev:8080/', 0, 'no grant in this session contains web.dev:8080'],
    ['refused', 'GET', 'http://nobody.nowhere:8080/', 0, 'no grant in this session contains nobody.nowhere:8080'],
  ])('%s: %s %s gets %i', async (verdict, method, url, status, reason) => {
    const { code, stdout } = await explain(url, '--method', method);
    expect(stdout).toMatch(new RegExp(`^${verdict}: `));
    expect(stdout).toContain(reason);
    expect(code).toBe(verdict === 'allowed' ? 0 : 1);
    expect((await curl(url, method)).status).toBe(status);
  });

  it.each(['http://orders.shop:8080/orders/1', 'tcp://ledger-db.shop:5432'])(
    '%s: the command for the platform team evaluates all policies of the mesh, with the same result',
    async (url) => {
      const [command] = /meshpass policy can-i .*/.exec((await explain(url)).stdout)!;
      const { lab } = dataPath;
      const argv = ['bash', '-c', command.replace('--kubeconfig FILE', `--kubeconfig ${lab.kubeconfig}`)];
      expect(await lab.exec('control', argv)).toMatchObject({ code: 0, stdout: expect.stringMatching(/^yes/) });
    },
  );

  it('allowed: a connection to the database', async () => {
    expect((await explain('tcp://ledger-db.shop:5432')).stdout).toMatch(/^allowed: a connection to ledger-db\.shop/);
    expect((await workspace([...SQL, 'ledger-db.shop'])).code).toBe(0);
  });

  it('refused: a VirtualService leads out of the grants; afterwards it is allowed again', async () => {
    const away: KubeObject = {
      apiVersion: 'networking.istio.io/v1',
      kind: 'VirtualService',
      metadata: { name: 'away', namespace: 'shop' },
      spec: {
        hosts: ['orders.shop.svc.cluster.local'],
        http: [{ route: [{ destination: { host: 'web.dev.svc.cluster.local', port: { number: 8080 } } }] }],
      },
    };
    const url = 'http://orders.shop:8080/orders/1';
    await dataPath.lab.kubernetes.apply(away);
    try {
      const { stdout } = await until(
        () => explain(url),
        ({ code }) => code === 1,
      );
      expect(stdout).toContain('VirtualService shop/away leads to web.dev.svc.cluster.local:8080');
      const { status, body } = await curl(url);
      expect(status).toBe(403);
      expect(JSON.parse(body)).toMatchObject({
        error_code: 'agent_route_not_granted',
        hop: 'workspace',
        session_id: session,
      });
      const row = await audited((one) => one.code === 'agent_route_not_granted');
      expect(JSON.parse(row!.detail!)).toMatchObject({ hop: 'workspace', method: 'GET', status: 403 });
    } finally {
      await dataPath.lab.kubernetes.remove(away);
    }
    await until(
      () => explain(url),
      ({ code }) => code === 0,
    );
    expect((await curl(url)).status).toBe(200);
  });
});

describe('a patch', () => {
  it('that git has applied to the file and CI has applied to the mesh lets the call pass', async () => {
    const file = join(repository, 'access.yaml');
    writeFileSync(file, readFileSync(dataPath.meshpass.accessFile, 'utf8'));
    const git = (...argv: readonly string[]) => execFileSync('git', argv, { cwd: repository });
    git('init', '-q');
    const refused = await explain(...DELETE, '--access', file);
    expect(refused.code).toBe(1);
    expect(refused.stdout).toMatch(/refused workload: .*access\.yaml:\d+:\d+\)/);
    const { code, stdout, stderr } = await explain(...DELETE, '--access', file, '--patch');
    expect(code).toBe(0);
    expect(stderr).toContain('widens: DELETE /orders/1 on orders.shop:8080');
    const patch = join(repository, 'allow.patch');
    writeFileSync(patch, stdout);
    git('apply', patch);
    expect((await explain(...DELETE, '--access', file)).code).toBe(0);
    const env = {
      ...(await dataPath.actions.startJob({})),
      MESHPASS_BROKER: dataPath.meshpass.brokerUrl,
      MESHPASS_CA_FILE: dataPath.lab.testCa,
    };
    const applied = await dataPath.lab.exec('github', ['meshpass', 'policy', 'apply', '--access', file], { env });
    expect(applied.stdout + applied.stderr).toContain('payments-dev gains DELETE /orders/1 on orders.shop:8080');
    expect(applied.code).toBe(0);
    await until(
      () => curl('http://orders.shop:8080/orders/1', 'DELETE'),
      ({ status }) => status !== 403,
    );
    await until(
      () => explain(...DELETE),
      (said) => said.code === 0,
      60,
    );
  });
});
