/** A Codespace's presence over real TLS and simulated forwarding, in every mode, and the findings of `meshpass doctor`. */
import type { CheckedFinding } from '@meshpass/cli/diagnosis/run';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { codespaceProof, type DataPath, expectRefused, openDataPath } from '../mesh.ts';

type Env = Readonly<Record<string, string>>;

/** The row of the session that was opened last. */
async function opened(dataPath: DataPath): Promise<{ presence?: string }> {
  const rows = (await dataPath.audit()).filter(
    ({ action, outcome }) => action === 'session.open' && outcome === 'allowed',
  );
  return JSON.parse(rows.at(-1)?.detail ?? '{}');
}

const readable = (dataPath: DataPath) =>
  dataPath.github.createCodespace({ owner: 'alice', repository: 'acme/payments-api', tokenReadsCodespaces: true });

describe('by default', () => {
  let dataPath: DataPath;
  beforeAll(async () => {
    dataPath = await openDataPath();
  });
  beforeEach(() => dataPath.github.reset());
  afterAll(async () => {
    await dataPath?.github.reset();
    await dataPath?.close();
  });

  it('a Codespace that the App had to read answers, and the audit log records that', async () => {
    const space = await dataPath.codespace();
    expect(await dataPath.adversary().enrol(codespaceProof(space))).toMatchObject({ status: 200 });
    expect(await opened(dataPath)).toMatchObject({ presence: 'answered' });
    const rows = await dataPath.audit();
    const first = rows.findLast(({ code }) => code === 'presence_required');
    expect(first).toMatchObject({ outcome: 'refused', login: 'alice', workspace: `codespace:${space.id}` });
  });

  it('one whose own token reads it is asked as well', async () => {
    expect(await dataPath.adversary().enrol(codespaceProof(await readable(dataPath)))).toMatchObject({ status: 200 });
    expect(await opened(dataPath)).toMatchObject({ presence: 'answered' });
  });

  it('no session opens while the forwarding accepts no connection, and one opens at once when it does again', async () => {
    const adversary = dataPath.adversary();
    await dataPath.github.setForwardingFault('down');
    const space = await dataPath.codespace();
    const answer = await adversary.enrol(codespaceProof(space));
    await expectRefused(dataPath, answer, {
      status: 503,
      error: 'temporarily_unavailable',
      code: 'presence_unreachable',
    });
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    await dataPath.github.setForwardingFault('none');
    expect(await adversary.enrol(codespaceProof(space))).toMatchObject({ status: 200 });
  });

  it('the agent tries again if GitHub does not forward the port at first', async () => {
    await dataPath.github.setForwardingFault('sign-in');
    const up = dataPath.lab.exec('workspace', ['meshpass', 'up'], { env: await dataPath.environment() });
    // The first try has failed by then, and the next comes a second later.
    while ((await dataPath.github.forwarded()).length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    await dataPath.github.setForwardingFault('none');
    expect(await up).toMatchObject({ code: 0 });
    const ports = (await dataPath.github.forwarded()).map((call) => /-(\d+)\.app/.exec(call)?.[1]);
    expect(ports.length).toBeGreaterThan(1);
    expect(new Set(ports).size).toBe(1);
    await dataPath.lab.exec('workspace', ['meshpass', 'down']);
  });

  describe('meshpass doctor', () => {
    const doctor = async (env: Env, flags: readonly string[] = []) => {
      const argv = ['meshpass', 'doctor', '--output', 'json', ...flags];
      const { code, stdout, stderr } = await dataPath.lab.exec('workspace', argv, { env });
      expect(stdout, stderr).toMatch(/^\{/);
      return { code, lines: (JSON.parse(stdout) as { lines: CheckedFinding[] }).lines };
    };
    const states = (lines: readonly CheckedFinding[]) => lines.map(({ check, state }) => `${check} ${state}`);

    it('finds everything in order, by an enrolment that it ends again', async () => {
      const env = await dataPath.environment();
      const { code, lines } = await doctor(env, ['--presence-port', '47000']);
      expect(states(lines)).toEqual([
        ...['environment ok', 'token ok', 'dns ok', 'tls ok', 'broker ok', 'clock ok', 'presence ok', 'session ok'],
        ...['credentials ok', 'edge ok', 'envoy ok', 'hosts ok', 'ports ok'],
      ]);
      expect(code).toBe(0);
      expect(lines.find(({ check }) => check === 'presence')?.says).toContain('port 47000');
      expect(await dataPath.accounts()).toEqual([]);
      // For people, and no credential in it.
      const { stdout } = await dataPath.lab.exec('workspace', ['meshpass', 'doctor'], { env });
      expect(stdout).toMatch(/^ok {6}environment: This is a Codespace/);
      expect(stdout).not.toContain(env.GITHUB_TOKEN);
    });

    it('leaves an agent that runs its session', async () => {
      const env = await dataPath.environment();
      expect(await dataPath.lab.exec('workspace', ['meshpass', 'up'], { env })).toMatchObject({ code: 0 });
      const { code, lines } = await doctor(env);
      expect(code).toBe(0);
      expect(states(lines)).toContain('presence skipped');
      expect(await dataPath.lab.exec('workspace', ['meshpass', 'status'], { env })).toMatchObject({ code: 0 });
      expect((await dataPath.accounts()).length).toBeGreaterThan(0);
      await dataPath.lab.exec('workspace', ['meshpass', 'down'], { env });
    });

    it('explains what to do if the forwarding brings no answer, and which part was never tried on GitHub', async () => {
      const env = await dataPath.environment();
      await dataPath.github.setForwardingFault('sign-in');
      const { code, lines } = await doctor(env);
      expect(code).toBe(1);
      expect(lines.find(({ check }) => check === 'presence')).toMatchObject({
        state: 'failed',
        code: 'presence_unanswered',
        next: expect.stringContaining('forwardPorts'),
        untried: expect.stringContaining('X-Github-Token'),
      });
      const { stdout } = await dataPath.lab.exec('workspace', ['meshpass', 'doctor'], { env });
      expect(stdout).toMatch(
        /^failed {2}presence: .*\[presence_unanswered\]\n {8}next: .+\n {8}see: {2}.+\n {8}note: .*has not been tested/m,
      );
    });

    it('ends with 3 if a dependency does not answer', async () => {
      const env = await dataPath.environment();
      await dataPath.github.setForwardingFault('down');
      const forwarding = await doctor(env);
      expect(forwarding.code).toBe(3);
      expect(forwarding.lines.find(({ state }) => state === 'failed')).toMatchObject({
        check: 'presence',
        code: 'presence_unreachable',
        next: expect.stringContaining('*.app.github.dev'),
      });
      const elsewhere = await doctor({ ...env, MESHPASS_BROKER: 'https://broker.meshpass.test:1' });
      expect(elsewhere.code).toBe(3);
      expect(states(elsewhere.lines)).toContain('broker failed');
    });

    it('reports a token of another kind, without any request', async () => {
      const env = await dataPath.environment();
      const other = { ...env, GITHUB_TOKEN: await dataPath.github.createUserTokenOf('alice', 'ghp_') };
      await dataPath.github.forgetCalls();
      const { code, lines } = await doctor(other);
      expect(code).toBe(1);
      expect(lines.find(({ check }) => check === 'token')).toMatchObject({
        state: 'failed',
        code: 'proof_token_kind',
        untried: expect.stringContaining('ghu_'),
      });
      // In the meantime the broker may poll for other sessions, as the App.
      const asApp = /^(?:GET \/orgs\/acme|POST \/app\/)/;
      expect((await dataPath.github.calls()).filter((call) => !asApp.test(call))).toEqual([]);
      expect(JSON.stringify(lines)).not.toContain(other.GITHUB_TOKEN.slice(4));
    });

    it('explains a prebuild, and a Codespace whose ports are forwarded elsewhere', async () => {
      const env = await dataPath.environment();
      const prebuild = await doctor({ ...env, ACTIONS_ID_TOKEN_REQUEST_URL: 'https://token.actions.test:9443/' });
      expect(prebuild.lines[0]).toMatchObject({ check: 'environment', state: 'failed', code: 'agent_prebuild' });
      const domain = await doctor({ ...env, GITHUB_CODESPACES_PORT_FORWARDING_DOMAIN: 'ports.ghe.com' });
      expect(domain.lines[0]).toMatchObject({ check: 'environment', state: 'failed', code: 'config_invalid' });
    });
  });
});

describe.each(['required', 'preferred', 'off'])('with --codespace-presence %s', (mode) => {
  let dataPath: DataPath;
  beforeAll(async () => {
    dataPath = await openDataPath({ flags: ['--codespace-presence', mode] });
  });
  afterAll(async () => {
    await dataPath?.github.reset();
    await dataPath?.close();
  });

  const asked = {
    required: ['answered', 'answered'],
    preferred: ['answered', 'answered'],
    off: ['not_asked', 'not_asked'],
  };

  it('asks every Codespace unless it is off', async () => {
    const [usual, own] = asked[mode as keyof typeof asked];
    const adversary = dataPath.adversary();
    expect(await adversary.enrol(codespaceProof(await dataPath.codespace()))).toMatchObject({ status: 200 });
    expect(await opened(dataPath)).toMatchObject({ presence: usual });
    expect(await adversary.enrol(codespaceProof(await readable(dataPath)))).toMatchObject({ status: 200 });
    expect(await opened(dataPath)).toMatchObject({ presence: own });
  });

  it('accepts a stolen token from another machine only if it is off', async () => {
    const answer = await dataPath.adversary('workspace-2').enrol(codespaceProof(await dataPath.codespace()));
    if (mode === 'off') expect(answer.status).toBe(200);
    else await expectRefused(dataPath, answer, { status: 400, error: 'invalid_request', code: 'presence_unanswered' });
  });

  it('admits without an answer only if none is required, and with a wrong one only if it is off', async () => {
    const adversary = dataPath.adversary();
    await dataPath.github.setForwardingFault('down');
    const answer = await adversary.enrol(codespaceProof(await dataPath.codespace()));
    expect(answer.status).toBe(mode === 'required' ? 503 : 200);
    if (mode === 'preferred') expect(await opened(dataPath)).toMatchObject({ presence: 'unreachable' });
    await dataPath.github.setForwardingFault('none');
    const wrong = await adversary.enrol(codespaceProof(await dataPath.codespace()), undefined, { otherKey: true });
    if (mode === 'off') expect(wrong.status).toBe(200);
    else await expectRefused(dataPath, wrong, { status: 400, error: 'invalid_request', code: 'presence_mismatch' });
  });
});
