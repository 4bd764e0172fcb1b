/**
 * Whatever ends a session: its open connection through the edge dies, new ones are refused, and none of its credentials
 * obtains anything any more. The times from cause to death are printed.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { codespaceProof, completed, type DataPath, idTokenProof, ORDERS, openDataPath, until } from '../mesh.ts';
import { call, GRANT, type HeldSessions, heldSessions } from './held-session.ts';

const LEASE = 15;
const EVENT_TOKEN = 'event-token-of-the-lab-0123456789abcdef';

let dataPath: DataPath;
let client: AdversarialClient;
let eventTokenFile: string;
let accessFile: string;
/** Milliseconds from each cause to the death of the open connection, as text. */
const measured: string[] = [];
let session: HeldSessions['session'];
let ends: HeldSessions['ends'];

beforeAll(async () => {
  eventTokenFile = join(mkdtempSync(join(tmpdir(), 'meshpass-causes-')), 'event-token');
  writeFileSync(eventTokenFile, EVENT_TOKEN, { mode: 0o600 });
  dataPath = await openDataPath({
    flags: [
      ...['--lease', String(LEASE), '--heartbeat', '2', '--github-sweep', '1', '--github-members', '2'],
      ...['--github-event-token', eventTokenFile],
    ],
  });
  accessFile = readFileSync(dataPath.meshpass.accessFile, 'utf8');
  client = dataPath.adversary();
  ({ session, ends } = heldSessions(dataPath, client, measured));
});
beforeEach(() => dataPath.github.reset());
afterAll(async () => {
  if (eventTokenFile) rmSync(dirname(eventTokenFile), { recursive: true });
  console.log(['from cause to the death of the open connection:', ...measured].join('\n  '));
  await dataPath?.github.reset();
  await dataPath?.close();
});

const operator = async (args: readonly string[]) => {
  const { operatorToken, operatorUrl } = dataPath.meshpass;
  const env = { MESHPASS_OPERATOR_TOKEN: operatorToken, MESHPASS_OPERATOR: operatorUrl };
  return await dataPath.lab.exec('github', ['meshpass', 'sessions', ...args], { env });
};
const audit = (event: object, token = EVENT_TOKEN) =>
  client.ask('POST', `${dataPath.meshpass.brokerUrl}/services/collector`, {
    headers: { authorization: `Splunk ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ event }),
  });

describe('the agent', () => {
  it('says goodbye', async () => {
    const one = await session('goodbye');
    await ends(one, 'goodbye', () => one.adversary.speak('DELETE', '/session'));
  });

  it('is silent for the length of a lease', async () => {
    const one = await session('lapse');
    await ends(one, 'lease_lapsed', async () => one.silence(), `lease_lapsed (lease ${LEASE} s)`);
  });

  it('starts again in a rebuilt Codespace', async () => {
    const one = await session('rebuilt');
    const again = client.as('rebuilt-again');
    let answer = {} as Awaited<ReturnType<AdversarialClient['enrol']>>;
    await ends(one, 'replaced', async () => {
      answer = await again.enrol(codespaceProof(one.space!));
    });
    await completed(dataPath, again, answer, GRANT);
    const report = await again.tunnel({
      target: ORDERS,
      grant: GRANT,
      edge: dataPath.meshpass.edge,
      send: await call(again),
    });
    expect(report.answer).toMatch(/^HTTP\/1\.1 200 /);
    await again.speak('DELETE', '/session');
  });
});

describe('an operator closes it', () => {
  it.each(['id', 'user', 'workspace', 'grant', 'all'])('by %s', async (by) => {
    const one = await session(by);
    const name = { id: one.id, user: 'Alice', workspace: one.space!.name, grant: GRANT }[by];
    const { stdout } = await operator(['list']);
    expect(stdout).toMatch(/^ID +LOGIN +SUBJECT/);
    expect(stdout).toContain(one.id);
    const flags = name === undefined ? ['--all', '--yes'] : [`--${by}`, name];
    await ends(
      one,
      'operator',
      async () => {
        const { code, stdout, stderr } = await operator(['close', ...flags, '--reason', 'a test']);
        expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
        expect(stdout).toContain(one.id);
      },
      `operator, by ${by} (with the start of the command)`,
    );
    expect((await operator(['list'])).stdout).toBe('No live sessions.\n');
  });

  it('and no session ends without a selection or an authenticated operator', async () => {
    const one = await session('kept');
    expect(await operator(['close'])).toMatchObject({ code: 2 });
    expect(await operator(['close', '--all'])).toMatchObject({ code: 2, stderr: expect.stringContaining('--yes') });
    expect(await operator(['close', '--id', one.id, '--user', 'alice'])).toMatchObject({ code: 2 });
    const { stdout } = await operator(['close', '--user', 'nobody', '--output', 'json']);
    expect(JSON.parse(stdout)).toEqual({ closed: [], denied: [] });
    const body = JSON.stringify({ all: true });
    const headers = { authorization: 'Bearer nobody', 'content-type': 'application/json' };
    const strange = await fetch(`${dataPath.meshpass.operatorUrl}/admin/sessions/close`, {
      method: 'POST',
      headers,
      body,
    });
    expect(await strange.json()).toMatchObject({ error_code: 'operator_unauthorized' });
    const url = `${dataPath.meshpass.brokerUrl}/admin/sessions/close`;
    const right = { ...headers, authorization: `Bearer ${dataPath.meshpass.operatorToken}` };
    expect(await client.ask('POST', url, { headers: right, body })).toMatchObject({
      status: 404,
      json: { error_code: 'not_found' },
    });
    expect(await one.adversary.renew()).toMatchObject({ kind: 'lease' });
    one.silence();
    await one.adversary.speak('DELETE', '/session');
  });
});

describe('GitHub reports', () => {
  it.each([
    ['Shutdown', 'workspace_stopped'],
    ['Deleted', 'workspace_deleted'],
  ] as const)('that the Codespace is %s: seen by the sweep', async (state, cause) => {
    const one = await session(state, { settled: true });
    await ends(
      one,
      cause,
      () => dataPath.github.setCodespaceState(one.space!.name, state),
      `${cause}, by a sweep of 1 s`,
    );
  });

  it("that the name is another Codespace's now", async () => {
    const one = await session('successor', { settled: true });
    await ends(
      one,
      'workspace_deleted',
      async () => {
        await dataPath.github.setCodespaceState(one.space!.name, 'Deleted');
        const { name } = one.space!;
        await dataPath.github.createCodespace({ owner: 'alice', repository: 'acme/payments-api', name });
      },
      "workspace_deleted, the name is another's",
    );
  });

  it('in its audit log that the Codespace stopped, and then when it is asked', async () => {
    const one = await session('event', { settled: true });
    const event = { action: 'codespaces.suspend_environment', name: one.space!.name, owner: 'alice' };
    expect(await audit(event, 'somebody-else')).toMatchObject({ status: 401 });
    await ends(
      one,
      'workspace_stopped',
      async () => {
        await dataPath.github.setCodespaceState(one.space!.name, 'Shutdown');
        expect(await audit(event)).toMatchObject({ status: 200 });
      },
      'workspace_stopped, by an event',
    );
  });

  it('that the job has ended', async () => {
    const job = { id: 41_000_000_001, repositoryId: 7001, runId: 9_200_000_001, runAttempt: 1 };
    await dataPath.github.setJob({ ...job, status: 'in_progress' });
    const token = await dataPath.actions.idToken({ audience: 'meshpass' });
    const one = await session('job', { proof: idTokenProof(token), grant: 'sre-bulk' });
    const act = () => dataPath.github.setJob({ ...job, status: 'completed' });
    await ends(one, 'job_ended', act, 'job_ended, by a look every 1 s');
  });

  it('that the developer left the team', async () => {
    const one = await session('team', { settled: true });
    await ends(one, 'membership_lost', () => dataPath.github.removeFromTeam('acme/payments', 'alice'));
    const again = client.as('team-again');
    const refused = { status: 403, json: { error_code: 'access_none' } };
    expect(await again.enrol(codespaceProof(one.space!))).toMatchObject(refused);
    // Back in the team, they get in when GitHub's servers have had time to agree.
    await dataPath.github.addToTeam('acme/payments', 'alice');
    await until(
      () => again.enrol(codespaceProof(one.space!)),
      ({ status }) => status === 200,
      30,
    );
    await again.speak('DELETE', '/session');
  });
});

describe('the access file', () => {
  const write = (change: (text: string) => string) => writeFileSync(dataPath.meshpass.accessFile, change(accessFile));
  const restore = async () => {
    write((text) => text);
    await until(
      async () => await client.as(`back-${Math.random()}`).enrol(codespaceProof(await dataPath.codespace())),
      ({ status }) => status === 200,
    );
  };

  it('grants it nothing any more', async () => {
    const one = await session('removed');
    await ends(one, 'access_removed', async () =>
      write((text) => text.replace('team: acme/payments', 'team: acme/nobodies')),
    );
    await restore();
  });

  it('allows it less time', async () => {
    const one = await session('shorter');
    await ends(
      one,
      'expired',
      async () => write((text) => text.replace('session: 8h', 'session: 1m')),
      'expired (1 min)',
    );
    await restore();
  }, 120_000);

  it('no longer trusts Codespaces', async () => {
    const one = await session('untrusted');
    await ends(one, 'issuer_removed', async () =>
      write((text) => text.replace('codespaces: { organization: acme }', 'codespaces: { organization: acme-labs }')),
    );
    await restore();
  });

  it('has another issuer under the name', async () => {
    const token = await dataPath.idp.idToken({ subject: '00u2bob' });
    const one = await session('issuer', { proof: idTokenProof(token), grant: 'sre-bulk' });
    await ends(
      one,
      'issuer_removed',
      async () => write((text) => text.replace('issuer: "https://idp.test:8443"', 'issuer: "https://idp.example"')),
      'issuer_removed, another one',
    );
    await restore();
  });
});

it('nothing that was presented is kept', () => dataPath.expectNoSecretKept());
