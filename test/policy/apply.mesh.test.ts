/** The access file from CI: planned and applied by the OIDC token of a job, kept, rolled back, and in force after a restart. */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ActionsJob } from '@meshpass/lab/oidc/admin-client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DataPath, openDataPath, until } from '../mesh.ts';

const WORKFLOW = 'acme/payments-api/.github/workflows/ci.yml@refs/heads/main';
const ISSUER = 'https://token.actions.test:9443';
/** acme/payments-api of the stand-in. */
const REPOSITORY = '7001';

let dataPath: DataPath;
let original: string;
const directory = mkdtempSync(join(tmpdir(), 'meshpass-apply-'));
const file = join(directory, 'access.yaml');

beforeAll(async () => {
  dataPath = await openDataPath({
    flags: ['--policy-repository', REPOSITORY, '--policy-issuer', ISSUER, '--policy-workflow', WORKFLOW],
  });
  original = readFileSync(dataPath.meshpass.accessFile, 'utf8');
});
afterAll(() => dataPath?.close());

/** Number of the next run, which always increases. */
let runs = 9_300_000_000;

/** The command as a job of a new run executes it, with the two variables that GitHub gives it. */
async function policy(job: ActionsJob, ...argv: readonly string[]) {
  const env = {
    ...(await dataPath.actions.startJob({ runId: ++runs, ...job })),
    MESHPASS_BROKER: dataPath.meshpass.brokerUrl,
    MESHPASS_CA_FILE: dataPath.lab.testCa,
  };
  const { code, stdout, stderr } = await dataPath.lab.exec('github', ['meshpass', 'policy', ...argv], { env });
  return { code, printed: `${stdout}${stderr}` };
}

const MAIN: ActionsJob = {};
const PULL: ActionsJob = { event: 'pull_request', ref: 'refs/pull/7/merge' };
const write = (text: string) => writeFileSync(file, text);
const applied = async () => (await dataPath.audit()).filter(({ action }) => action === 'policy.apply');

describe('a pull request', () => {
  it('may plan: the plan lists who gains what, and changes nothing', async () => {
    write(original.replace('GET /whoami', 'GET /whoami, DELETE /orders/*'));
    const before = await dataPath.objects();
    const { code, printed } = await policy(PULL, 'apply', '--dry-run', '--access', file);
    expect(printed).toContain('payments-dev gains DELETE /orders/* on orders.shop:8080');
    expect(code).toBe(0);
    expect(await dataPath.objects()).toEqual(before);
  });

  it('may not apply, nor may a job that runs code of others, nor another repository', async () => {
    const refused = await policy(PULL, 'apply', '--access', file);
    expect(refused.printed).toContain('[plan_unauthorized]');
    expect(refused.code).toBe(1);
    const target = { event: 'pull_request_target' as ActionsJob['event'] & string };
    expect((await policy(target, 'apply', '--access', file)).printed).toContain('[plan_unauthorized]');
    expect((await policy({ workflow: 'deploy.yml' }, 'apply', '--access', file)).printed).toContain(
      '[plan_unauthorized]',
    );
    const other = { repository: { name: 'payments-fork', id: 7999 } };
    expect((await policy(other, 'apply', '--dry-run', '--access', file)).printed).toContain('[plan_unauthorized]');
    expect((await applied()).filter(({ code }) => code === 'plan_unauthorized')).toHaveLength(3);
  });

  it('learns before its merge which objects the cluster would not let the broker write', async () => {
    const { kubernetes } = dataPath.lab;
    await kubernetes.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'payroll' } });
    await kubernetes.apply({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'salaries', namespace: 'payroll' },
      spec: { selector: { app: 'salaries' }, ports: [{ name: 'tcp', port: 5432 }] },
    });
    try {
      write(original.replace('ledger-db.shop', 'salaries.payroll'));
      const before = await dataPath.objects();
      const { code, printed } = await policy(PULL, 'apply', '--dry-run', '--access', file);
      expect(printed).toMatch(/Kubernetes rejected .*ValidatingAdmissionPolicy 'meshpass-.*\[policy_forbidden\]/s);
      expect(code).toBe(1);
      expect(await dataPath.objects()).toEqual(before);
    } finally {
      await kubernetes.call('DELETE', '/api/v1/namespaces/payroll');
      write(original.replace('GET /whoami', 'GET /whoami, DELETE /orders/*'));
    }
  });

  it('learns which calls are refused, with the rule that refuses them', async () => {
    const deny = {
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'no-deletes', namespace: 'shop' },
      spec: { action: 'DENY', rules: [{ to: [{ operation: { methods: ['DELETE'], ports: ['8080'] } }] }] },
    };
    await dataPath.lab.kubernetes.apply(deny);
    try {
      const { code, printed } = await policy(PULL, 'apply', '--dry-run', '--output', 'markdown', '--access', file);
      expect(code).toBe(1);
      expect(printed).toContain('**This change is refused.**');
      expect(printed).toContain('grant payments-dev does not work: DELETE /orders/* is refused');
      expect(printed).toContain('AuthorizationPolicy shop/no-deletes, rule 1');
    } finally {
      await dataPath.lab.kubernetes.remove(deny);
    }
  });
});

describe('a push to main', () => {
  it('applies, and the file on disk counts no more', async () => {
    const { code, printed } = await policy(MAIN, 'apply', '--access', file);
    expect(printed).toContain('Applied, and now in effect.');
    expect(code).toBe(0);
    const row = (await applied()).findLast(({ outcome, detail }) => outcome === 'allowed' && detail !== null);
    expect(row).toMatchObject({ subject: expect.stringContaining('acme/payments-api') });
    writeFileSync(dataPath.meshpass.accessFile, original.replace('ttl: 10m', 'ttl: 9m'));
    const again = await policy(MAIN, 'apply', '--dry-run', '--access', file);
    expect(again.printed).toContain('Nothing changes.');
  });

  it('does not apply a plan that was made for another state', async () => {
    write(original);
    const { printed } = await policy(PULL, 'apply', '--dry-run', '--output', 'json', '--access', file);
    const { id } = JSON.parse(printed) as { id: string };
    const policyOfTheirs = {
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'meanwhile', namespace: 'dev' },
      spec: { action: 'DENY', rules: [{ to: [{ operation: { paths: ['/nothing'], ports: ['8080'] } }] }] },
    };
    await dataPath.lab.kubernetes.apply(policyOfTheirs);
    try {
      const stale = await policy(MAIN, 'apply', '--plan', id, '--access', file);
      expect(stale.printed).toContain('[plan_stale]');
      expect(stale.code).toBe(1);
      const token = dataPath.secret(
        await dataPath.actions.idToken({ audience: 'meshpass-policy', job: { runId: ++runs } }),
      );
      const body = { main: 'access.yaml', files: { 'access.yaml': original }, plan: id };
      const answer = await dataPath.adversary('github').ask('POST', `${dataPath.meshpass.brokerUrl}/policy/apply`, {
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      expect(answer).toMatchObject({ status: 409, json: { error_code: 'plan_stale' } });
    } finally {
      await dataPath.lab.kubernetes.remove(policyOfTheirs);
    }
  });

  it('accepts the first attempt of a run, once, and no token of another audience', async () => {
    const adversary = dataPath.adversary('github');
    const send = async (token: string, path: string, body: object) =>
      adversary.ask('POST', `${dataPath.meshpass.brokerUrl}${path}`, {
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
    const files = { main: 'access.yaml', files: { 'access.yaml': original } };
    const token = dataPath.secret(
      await dataPath.actions.idToken({ audience: 'meshpass-policy', job: { runId: ++runs } }),
    );
    const planned = await send(token, '/policy/plan', files);
    const { id: plan } = planned.json as { id: string };
    expect(await send(token, '/policy/apply', { ...files, plan })).toMatchObject({ status: 200 });
    const again = (await send(token, '/policy/plan', files)).json as { id: string };
    expect(await send(token, '/policy/apply', { ...files, plan: again.id })).toMatchObject({
      json: { error_code: 'plan_stale' },
    });
    const attempt = dataPath.secret(
      await dataPath.actions.idToken({ audience: 'meshpass-policy', job: { runId: ++runs, runAttempt: 2 } }),
    );
    expect(await send(attempt, '/policy/apply', { ...files, plan: again.id })).toMatchObject({
      json: { error_code: 'plan_unauthorized' },
    });
    const foreign = dataPath.secret(await dataPath.actions.idToken({ audience: 'meshpass' }));
    expect(await send(foreign, '/policy/plan', files)).toMatchObject({ json: { error_code: 'proof_audience' } });
    await dataPath.expectNoSecretKept();
  });

  it('is kept: history lists it, and a rollback puts an earlier one in force', async () => {
    const history = await policy(MAIN, 'history', '--output', 'json');
    const { versions } = JSON.parse(history.printed) as { versions: { version: number; by: string }[] };
    expect(versions.map(({ version }) => version)).toEqual([2, 1]);
    const operator = {
      MESHPASS_OPERATOR_TOKEN: dataPath.meshpass.operatorToken,
      MESHPASS_OPERATOR: dataPath.meshpass.operatorUrl,
    };
    const back = await dataPath.lab.exec(
      'github',
      ['meshpass', 'policy', 'rollback', '1', '--reason', 'it was better'],
      {
        env: operator,
      },
    );
    expect(`${back.stdout}${back.stderr}`).toContain('payments-dev gains DELETE /orders/* on orders.shop:8080');
    const byJob = await policy(MAIN, 'history', '--output', 'json');
    expect(byJob.printed).toContain('Rolled back to version 1 by the holder of the break-glass token: it was better');
  });

  it('survives a restart of the broker', async () => {
    await dataPath.lab.restart('meshpass');
    write(original.replace('GET /whoami', 'GET /whoami, DELETE /orders/*'));
    await until(
      () => policy(PULL, 'apply', '--dry-run', '--access', file),
      ({ printed }) => printed.includes('Nothing changes.'),
      30,
    );
  });
});

it('reports at once when a foreign policy breaks a grant, and when it no longer does', async () => {
  const watched = async () => (await dataPath.audit()).filter(({ action }) => action === 'policy.watch');
  const findings = async () =>
    /^meshpass_policy_findings (\d+)$/m.exec(
      await (await fetch(`${dataPath.meshpass.operatorUrl}/metrics`)).text(),
    )?.[1];
  await until(findings, (seen) => seen === '0', 30);
  // A path on a TCP port: Istio drops it, and the rule denies everything there.
  const deny = {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name: 'breaks', namespace: 'shop' },
    spec: { action: 'DENY', rules: [{ to: [{ operation: { paths: ['/nothing'] } }] }] },
  };
  await dataPath.lab.kubernetes.apply(deny);
  try {
    const rows = await until(watched, (seen) => seen.some(({ outcome }) => outcome === 'refused'), 30);
    expect(rows.at(-1)).toMatchObject({ code: 'plan_refused', grant_name: 'payments-dev' });
    expect(rows.at(-1)!.reason).toContain('every call is refused on ledger-db in shop');
    expect(rows.at(-1)!.reason).toContain('AuthorizationPolicy shop/breaks, rule 1');
    expect(await findings()).toBe('1');
  } finally {
    await dataPath.lab.kubernetes.remove(deny);
  }
  await until(watched, (seen) => seen.at(-1)?.outcome === 'allowed', 30);
  await until(findings, (seen) => seen === '0', 30);
});
