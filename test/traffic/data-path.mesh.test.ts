/** The whole data path with the real agent: from a Codespace to the services of a real mesh, and back to nothing. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Lab, upLab } from '@meshpass/lab';
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DataPath, openDataPath, until } from '../mesh.ts';
import { CURL, SQL, trafficInTheMesh } from './traffic-in-the-mesh.ts';

let lab: Lab;
let dataPath: DataPath;
let before: Record<string, string>;

beforeAll(async () => {
  lab = await upLab();
  before = await trafficInTheMesh(lab);
  // As by default: a session that ends changes no policy, so that no connection of another workload is drained.
  dataPath = await openDataPath({ flags: ['--deny-ended', 'revoked'] });
});
afterAll(async () => {
  for (const host of ['workspace', 'workspace-2', 'github']) await lab?.exec(host, ['meshpass', 'down']);
  await dataPath?.close();
  await lab?.down();
});

interface Env {
  readonly [name: string]: string | undefined;
}
const brokerEnv = (): Env => ({ MESHPASS_BROKER: dataPath.meshpass.brokerUrl, MESHPASS_CA_FILE: lab.testCa });
const codespaceEnv = (owner?: string): Promise<Env> => dataPath.environment(owner);

async function on(host: string, argv: readonly string[], env: Env = {}) {
  return await lab.exec(host, argv, { env: { PGCONNECT_TIMEOUT: '5', ...env } });
}
const workspace = (argv: readonly string[], env?: Env) => on('workspace', argv, env);
async function up(host: string, env: Env, flags: readonly string[] = []): Promise<string> {
  const { code, stdout, stderr } = await on(host, ['meshpass', 'up', ...flags], env);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  return stdout;
}
async function curl(host: string, args: readonly string[], env?: Env): Promise<{ status: number; body: string }> {
  const { stdout, stderr } = await on(host, [...CURL, ...args], env);
  const at = stdout.lastIndexOf('\n');
  return { status: Number(stdout.slice(at + 1)), body: (stdout.slice(0, at) || stderr).trim() };
}
const hosts = (host = 'workspace') => readFileSync(`/etc/netns/${lab.hosts[host]!.netns}/hosts`, 'utf8');
const agentOf = (host: string): number[] =>
  execFileSync('ip', ['netns', 'pids', lab.hosts[host]!.netns], { encoding: 'utf8' })
    .split('\n')
    .filter((pid) => pid && commandOf(pid).includes('daemon'))
    .map(Number);

/** Empty if it has ended. */
function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

describe('a developer who runs `meshpass up` in a Codespace', () => {
  let session: string;

  beforeAll(async () => {
    const text = await up('workspace', await codespaceEnv());
    session = /Session (\S+),/.exec(text)![1]!;
  });

  it('sees their identity, the reachable services, and their principals', async () => {
    const { stdout } = await workspace(['meshpass', 'status']);
    expect(stdout).toMatch(/^You are alice \(github:583231\) in alice-upgraded-space-\w+\.$/m);
    expect(stdout).toMatch(
      /payments-dev: spiffe:\/\/cluster\.local\/ns\/meshpass-payments-dev\/sa\/alice-\w+, expires in .+ and is renewed before then$/m,
    );
    expect(stdout).toContain('http://orders.shop:8080  GET /orders/*, GET /whoami, POST /refunds');
    expect(stdout).toContain('ledger-db.shop:5432');
    expect(stdout).not.toMatch(/^Note|^Failing/m);
  });

  it.each(['orders.shop', 'orders.shop.svc', 'orders.shop.svc.cluster.local'])(
    'calls http://%s:8080 by name',
    async (name) => {
      expect(await curl('workspace', [`http://${name}:8080/orders/42`])).toEqual({
        status: 200,
        body: '{"id":"42","state":"shipped","total":4200}',
      });
    },
  );

  it.each(['ledger-db.shop', 'ledger-db.shop.svc.cluster.local'])(
    'asks the database at %s with plain psql',
    async (name) => {
      expect(await workspace([...SQL, name])).toEqual({ code: 0, stdout: '505000\n', stderr: '' });
    },
  );

  it('is known to the service by what the sidecar verified', async () => {
    const { body } = await curl('workspace', ['http://orders.shop:8080/whoami', '-H', 'x-meshpass-login: admin']);
    const seen = JSON.parse(body);
    expect(seen.principal).toMatch(/^spiffe:\/\/cluster\.local\/ns\/meshpass-payments-dev\/sa\/alice-\w+$/);
    expect(seen.identity).toEqual({
      'x-meshpass-sub': 'github:583231',
      'x-meshpass-login': 'alice',
      'x-meshpass-session': session,
      'x-meshpass-workspace': expect.stringMatching(/^alice-upgraded-space-/),
    });
  });

  it('keeps the Authorization header of their own program', async () => {
    const { body } = await curl('workspace', ['http://orders.shop:8080/whoami', '-H', 'authorization: Basic eA==']);
    expect(JSON.parse(body)).toMatchObject({ authorization: true });
  });

  it('posts a granted request', async () => {
    expect(await curl('workspace', ['-X', 'POST', 'http://orders.shop:8080/refunds'])).toMatchObject({ status: 201 });
  });

  it('is told which grant refuses a path, and what to send to the platform team', async () => {
    const { status, body } = await curl('workspace', ['http://orders.shop:8080/admin/users']);
    expect(status).toBe(403);
    expect(body).toContain('GET /admin/users refused by policy at orders.shop');
    expect(body).toContain('your grant payments-dev allows GET /orders/*, GET /whoami, POST /refunds');
    expect(body).toContain(session);
    expect(
      (await dataPath.audit({ session })).some((row) => row.action === 'tunnel' && row.outcome === 'allowed'),
    ).toBe(true);
  });

  it('has no name for a service that is not granted', async () => {
    for (const name of ['web.dev', 'istiod.istio-system.svc', 'kubernetes.default.svc'])
      expect((await workspace(['getent', 'hosts', name])).stdout).toBe('');
    expect((await curl('workspace', ['http://orders.shop:9090/'])).status).toBe(0);
  });

  it('has an ID token for AWS that anyone can verify by the public documents', async () => {
    const { stdout } = await workspace(['meshpass', 'token', '--audience', 'sts.amazonaws.com']);
    const adversary = dataPath.adversary();
    const discovery = await adversary.ask('GET', `${dataPath.meshpass.brokerUrl}/.well-known/openid-configuration`);
    const { issuer, jwks_uri: jwksUri } = discovery.json as { issuer: string; jwks_uri: string };
    expect(issuer).toBe(dataPath.meshpass.brokerUrl);
    const jwks = createLocalJWKSet((await adversary.ask('GET', jwksUri)).json as JSONWebKeySet);
    const { payload } = await jwtVerify(stdout.trim(), jwks, { issuer, audience: 'sts.amazonaws.com' });
    expect(payload).toMatchObject({ sub: 'github:583231' });
    expect(payload.exp! - payload.iat!).toBeLessThanOrEqual(3600);
    dataPath.secret(stdout.trim());
    const refused = await workspace(['meshpass', 'token', '--audience', 'sts.example.com']);
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toContain('[audience_not_allowed]');
  });

  describe('with `eval "$(meshpass env)"`', () => {
    let proxy: Env;
    beforeAll(async () => {
      proxy = JSON.parse((await workspace(['meshpass', 'env', '--output', 'json'])).stdout);
      dataPath.secret(new URL(proxy.http_proxy!).password);
    });

    it('calls a service by the proxy, in absolute form and by CONNECT', async () => {
      const url = 'http://orders.shop.svc.cluster.local:8080/orders/7';
      const order = { status: 200, body: '{"id":"7","state":"shipped","total":4200}' };
      expect(await curl('workspace', [url], proxy)).toEqual(order);
      expect(await curl('workspace', ['--proxytunnel', url], proxy)).toEqual(order);
      const shell = `eval "$(meshpass env)" && curl -sS -m 10 ${url}`;
      expect((await workspace(['sh', '-c', shell])).stdout.trim()).toBe(order.body);
    });

    it('sees the reachable services if a service or a port is not granted', async () => {
      for (const [url, name] of [
        ['http://orders.shop:9090/', 'orders.shop:9090'],
        ['http://web.dev.svc.cluster.local/', 'web.dev.svc.cluster.local'],
      ] as const) {
        const { status, body } = await curl('workspace', [url], proxy);
        expect(status).toBe(403);
        expect(body).toBe(
          `meshpass: ${name} is not granted to you; you can reach orders.shop:8080, ledger-db.shop:5432`,
        );
      }
    });

    it('and no program without the secret uses the proxy', async () => {
      const bare = proxy.http_proxy!.replace(/\/\/[^@]*@/, '//');
      const wrong = proxy.http_proxy!.replace(/:[^:@]*@/, ':wrong@');
      for (const http_proxy of [bare, wrong]) {
        const { status, body } = await curl('workspace', ['http://orders.shop:8080/orders/1'], { http_proxy });
        expect(status).toBe(407);
        expect(body).not.toContain('shipped');
      }
    });
  });

  it('changes nothing for workloads that are in the mesh already', async () => {
    expect(Object.values(before).every((answer) => answer.startsWith('0 '))).toBe(true);
    expect(await trafficInTheMesh(lab)).toEqual(before);
  });

  it('runs `meshpass down`, and nothing is left: no name, no session, no ServiceAccount, no process', async () => {
    expect(hosts()).toContain('orders.shop');
    const { stdout } = await workspace(['meshpass', 'down']);
    expect(stdout).toContain('The session has ended');
    expect(hosts()).not.toMatch(/meshpass begin|orders\.shop/);
    expect(agentOf('workspace')).toEqual([]);
    expect((await curl('workspace', ['http://orders.shop:8080/orders/1'])).status).toBe(0);
    const rows = await dataPath.audit({ session });
    expect(rows.filter((row) => row.action === 'session.close')).toHaveLength(1);
    await until(
      () => dataPath.accounts(),
      (accounts) => accounts.length === 0,
    );
    expect(await workspace(['meshpass', 'status'])).toMatchObject({ code: 3, stdout: '' });
  });
});

describe('an agent that was killed', () => {
  const crash = async () => {
    await up('workspace', await codespaceEnv());
    for (const pid of agentOf('workspace')) process.kill(pid, 'SIGKILL');
    await until(
      () => agentOf('workspace'),
      (left) => left.length === 0,
    );
    expect(hosts()).toContain('orders.shop');
  };

  it('is cleaned up after by `meshpass down`', async () => {
    await crash();
    expect(await workspace(['meshpass', 'down'])).toMatchObject({ code: 0 });
    expect(hosts()).not.toMatch(/meshpass begin|orders/);
  });

  it('is replaced by `meshpass up`, which carries traffic and leaves one block', async () => {
    await crash();
    await up('workspace', await codespaceEnv());
    expect(hosts().match(/meshpass begin/g)).toHaveLength(1);
    expect(await curl('workspace', ['http://orders.shop:8080/orders/3'])).toMatchObject({ status: 200 });
    await workspace(['meshpass', 'down']);
    expect(hosts()).not.toMatch(/meshpass begin|orders/);
  });
});

it('a prebuild never enrols', async () => {
  const env = { ...(await codespaceEnv()), ...(await dataPath.actions.startJob()) };
  // Of earlier tests, edges may still report how their tunnels ended.
  const asked = async () => (await dataPath.audit()).filter(({ action }) => action === 'session.open').length;
  const before = await asked();
  const { code, stderr } = await workspace(['meshpass', 'up'], env);
  expect(code).toBe(1);
  expect(stderr).toContain('[agent_prebuild]');
  expect(await asked()).toBe(before);
  expect(hosts()).not.toContain('meshpass begin');
});

it('a machine that is neither a Codespace nor a job gets the missing part', async () => {
  const { code, stderr } = await workspace(['meshpass', 'up'], brokerEnv());
  expect(code).toBe(1);
  expect(stderr).toContain('[agent_no_identity]');
});

it('a developer without a grant gets that error', async () => {
  const { code, stderr } = await workspace(['meshpass', 'up'], await codespaceEnv('carol'));
  expect(code).toBe(1);
  expect(stderr).toContain('[access_none]');
  expect(hosts()).not.toContain('meshpass begin');
});

it('a job of GitHub Actions enrols with its own ID token', async () => {
  const job = await dataPath.actions.startJob();
  dataPath.secret(job.ACTIONS_ID_TOKEN_REQUEST_TOKEN);
  await up('github', { ...brokerEnv(), GITHUB_ACTIONS: 'true', ...job });
  const { body } = await curl('github', ['http://orders.shop:8080/whoami']);
  expect(JSON.parse(body)).toMatchObject({
    principal: expect.stringMatching(/^spiffe:\/\/cluster\.local\/ns\/meshpass-sre-bulk\/sa\//),
    identity: { 'x-meshpass-sub': 'actions:repo:7001', 'x-meshpass-login': 'alice' },
  });
  expect((await on('github', ['meshpass', 'down'])).code).toBe(0);
  expect(hosts('github')).not.toContain('meshpass begin');
});

it('a person of the company enrols with an ID token in a file, beside a Codespace', async () => {
  const file = join(lab.dir, 'proof.jwt');
  writeFileSync(file, dataPath.secret(await dataPath.idp.idToken({ subject: '00u2bob' })), { mode: 0o600 });
  await up('workspace', await codespaceEnv());
  await up('workspace-2', brokerEnv(), ['--proof-file', file]);
  const [alice, bob] = await Promise.all(
    ['workspace', 'workspace-2'].map(async (host) =>
      JSON.parse((await curl(host, ['http://orders.shop:8080/whoami'])).body),
    ),
  );
  expect(alice.identity['x-meshpass-sub']).toBe('github:583231');
  expect(bob.identity['x-meshpass-sub']).toBe('okta:00u2bob');
  expect((await curl('workspace-2', ['http://orders.shop:8080/admin/x'])).status).toBe(200);
  expect((await curl('workspace', ['http://orders.shop:8080/admin/x'])).status).toBe(403);
  expect((await on('workspace-2', [...SQL, 'ledger-db.shop'])).code).not.toBe(0);
  await Promise.all(['workspace', 'workspace-2'].map((host) => on(host, ['meshpass', 'down'])));
});

it('traffic within the mesh is as before, when Meshpass has gone and its resources stay', async () => {
  await dataPath.meshpass.stop();
  expect(await trafficInTheMesh(lab)).toEqual(before);
});
