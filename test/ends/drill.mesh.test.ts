/** The drill on a real mesh: it passes, and if a step of a session's end is sabotaged it fails and names the layer. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type DrillReport, failedRows } from '@meshpass/identity/drill-report';
import { sabotagedMeshpass } from '@meshpass/lab/meshpass';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DataPath, openDataPath, until } from '../mesh.ts';

const OUTSIDE = [
  ...['token endpoint', 'session renewal', 'certificate renewal', 'configuration'],
  ...['edge', 'control channel'],
];
const LAYERS = [...OUTSIDE, 'mesh gateway', 'sidecar'];
const RECORDS = ['TokenReview', 'ServiceAccount', 'root DENY', 'store'];
const LEASE_SECONDS = 5;

interface Drilled {
  readonly code: number;
  readonly stderr: string;
  readonly report: DrillReport;
}

/** On the cluster's network, without a sidecar. An operator has a way to the operator listener there; a workspace has none. */
const HOST = 'github';

/** Inside the cluster, the drill tries every layer, and waits ten seconds for connections that Istio drains; outside, it ends at once. */
async function drill(
  dataPath: DataPath,
  flags: readonly string[] = [],
  from: 'inside' | 'outside' = 'inside',
  env?: Readonly<Record<string, string>>,
): Promise<Drilled> {
  const { lab } = dataPath;
  const inside = [
    ...['--kubeconfig', lab.kubeconfig, '--inside-gateway', lab.gatewayAddress],
    ...['--inside-pod', `orders.shop:8080=${lab.hosts.orders!.ip}:8080`],
    ...['--inside-pod', `ledger-db.shop:5432=${lab.hosts['ledger-db']!.ip}:5432`],
  ];
  const argv = ['meshpass', 'drill', '--output', 'json', ...(from === 'inside' ? inside : []), ...flags];
  const { code, stdout, stderr } = await lab.exec(HOST, argv, { env: env ?? (await environment(dataPath)) });
  expect(stdout, stderr).toMatch(/^\{/);
  return { code: code ?? -1, stderr, report: JSON.parse(stdout) as DrillReport };
}

function asOperator({ meshpass }: DataPath): Record<string, string> {
  return { MESHPASS_OPERATOR: meshpass.operatorUrl, MESHPASS_OPERATOR_TOKEN: meshpass.operatorToken };
}

async function environment(dataPath: DataPath): Promise<Record<string, string>> {
  return { ...(await dataPath.environment('alice', HOST)), ...asOperator(dataPath) };
}

const dead = ({ rows }: DrillReport) =>
  new Set(rows.filter(({ outcome }) => outcome === 'dead').map(({ layer }) => layer));
const failed = (report: DrillReport) => new Set(failedRows(report).map(({ layer }) => layer));

describe('a drill on a mesh that ends sessions as it should', () => {
  let dataPath: DataPath;
  beforeAll(async () => {
    dataPath = await openDataPath({ flags: ['--lease', String(LEASE_SECONDS), '--heartbeat', '2'] });
  });
  afterAll(() => dataPath?.close());

  it.each(['goodbye', 'admin', 'lapse'])('finds every layer dead after: %s', async (cause) => {
    const { code, report } = await drill(dataPath, ['--cause', cause]);
    expect(failedRows(report)).toEqual([]);
    expect(code).toBe(0);
    expect(dead(report)).toEqual(new Set([...LAYERS, ...RECORDS]));
    expect(report.rows.filter(({ outcome }) => outcome === 'not_tried')).toEqual([]);
    const connections = report.rows.filter(({ part }) => part === 'connections');
    const open = connections.filter(({ layer }) => layer === 'edge');
    expect(open.map(({ tried }) => tried)).toEqual([
      ...['open HTTP/1.1 keep-alive, orders.shop:8080', 'open HTTP/2 stream, orders.shop:8080'],
      'open TCP connection, ledger-db.shop:5432',
    ]);
    for (const { ms } of open) expect(ms).toBeGreaterThanOrEqual(0);
    // Past the edge Istio ends them, in its own time: the drill reports that and does not count it.
    for (const layer of ['mesh gateway', 'sidecar']) {
      const inside = connections.filter((one) => one.layer === layer);
      expect(inside.map(({ tried }) => tried)).toEqual(open.map(({ tried }) => tried));
      for (const { outcome, ms, how } of inside)
        expect(outcome === 'dead' ? ms! : how).toEqual(
          outcome === 'dead' ? expect.any(Number) : expect.stringMatching(/^still open after 10 s/),
        );
    }
  });

  it('waits for an end from outside, prints its time, and records its cause', async () => {
    const { lab, meshpass } = dataPath;
    const env = await environment(dataPath);
    const argv = ['meshpass', 'drill', '--output', 'json', '--cause', 'outside', '--wait', '60'];
    const child = lab.spawn(HOST, argv, { env });
    let [out, err] = ['', ''];
    child.stdout!.on('data', (part) => {
      out += part;
    });
    child.stderr!.on('data', (part) => {
      err += part;
    });
    const ended = new Promise((resolve) => child.once('close', resolve));
    await until(
      () => err,
      (text) => text.includes('ending it: outside'),
      60,
    );
    const closed = await fetch(`${meshpass.operatorUrl}/admin/sessions/close`, {
      method: 'POST',
      headers: { authorization: `Bearer ${meshpass.operatorToken}`, 'content-type': 'application/json' },
      body: JSON.stringify({ workspace: env.CODESPACE_NAME }),
    });
    expect(closed.status).toBe(200);
    expect(await ended, err).toBe(0);
    const report = JSON.parse(out) as DrillReport;
    expect(report.cause).toBe('outside');
    expect(dead(report)).toEqual(new Set([...OUTSIDE, 'store']));
    expect(report.rows.find(({ layer, outcome }) => layer === 'store' && outcome === 'dead')?.how).toMatch(
      /: operator$/,
    );
  });

  it('proves itself as a job of GitHub Actions, and with the file of an ID token', async () => {
    const { lab, meshpass, actions } = dataPath;
    const broker = {
      MESHPASS_BROKER: meshpass.brokerUrl,
      MESHPASS_CA_FILE: lab.testCa,
      ...asOperator(dataPath),
    };
    const job = await actions.startJob();
    dataPath.secret(job.ACTIONS_ID_TOKEN_REQUEST_TOKEN);
    const asJob = await drill(dataPath, ['--rebuild'], 'inside', { ...broker, ...job, GITHUB_ACTIONS: 'true' });
    expect(failedRows(asJob.report)).toEqual([]);
    expect(asJob.code).toBe(0);
    expect(asJob.report.session.grants).toEqual(['sre-bulk']);

    const file = join(lab.dir, 'id-token');
    writeFileSync(file, dataPath.secret(await dataPath.idp.idToken({ subject: '00u2bob' })));
    const withFile = await drill(dataPath, ['--proof-file', file], 'outside', broker);
    expect(failedRows(withFile.report)).toEqual([]);
    expect(withFile.code).toBe(0);
    // Once: a rebuild needs another proof.
    const again = await lab.exec(HOST, ['meshpass', 'drill', '--proof-file', file], { env: broker });
    expect(again.code).not.toBe(0);
    expect(again.stderr).toContain('[proof_replayed]');
  });

  it('shows that a rebuilt Codespace gets in again while its old credentials stay dead', async () => {
    const { code, report } = await drill(dataPath, ['--cause', 'rebuild']);
    expect(failedRows(report)).toEqual([]);
    expect(code).toBe(0);
    const rebuilt = report.rows.filter(({ part }) => part === 'rebuild');
    const lives = rebuilt.filter(({ outcome }) => outcome === 'lives');
    expect(lives.map(({ layer }) => layer)).toEqual(['session renewal', 'edge', 'edge']);
    const again = new Set(rebuilt.filter(({ outcome }) => outcome === 'dead').map(({ layer }) => layer));
    expect(again).toEqual(new Set([...LAYERS, ...RECORDS]));
  });

  it('lists the checks that it could not do from outside of the cluster, and never claims that it passed', async () => {
    const { code, report } = await drill(dataPath, [], 'outside');
    expect(code).toBe(0);
    expect(dead(report)).toEqual(new Set([...OUTSIDE, 'store']));
    const untried = new Set(report.rows.filter(({ outcome }) => outcome === 'not_tried').map(({ layer }) => layer));
    expect(untried).toEqual(new Set(['mesh gateway', 'sidecar', 'TokenReview', 'ServiceAccount', 'root DENY']));
  });

  it('leaves evidence that verifies with the public keys, and not when a byte of it is changed', async () => {
    const { lab } = dataPath;
    const file = join(lab.dir, 'drill.jws');
    const { report } = await drill(dataPath, ['--evidence', file], 'outside');
    const env = await environment(dataPath);
    const verify = (path: string) =>
      lab.exec('workspace', ['meshpass', 'drill', '--verify', path, '--output', 'json'], { env });
    const verified = await verify(file);
    expect(verified.stderr).toBe('');
    expect(verified.code).toBe(0);
    const { drill: signed, witness } = JSON.parse(verified.stdout);
    expect(signed).toEqual(report);
    expect(witness).toMatchObject({
      broker: dataPath.meshpass.brokerUrl,
      session: { id: report.session.id, close_cause: 'goodbye', closed_at: expect.stringMatching(/^20/) },
    });
    const text = readFileSync(file, 'utf8');
    const [head, payload, signature] = text.split('.');
    const changed = Buffer.from(payload!, 'base64url').toString().replace('"dead"', '"live"');
    writeFileSync(file, [head, Buffer.from(changed).toString('base64url'), signature].join('.'));
    const refused = await verify(file);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('evidence_invalid');
  });

  it('keeps no token or key in its report, its evidence, the audit log or the log', async () => {
    const { report } = await drill(dataPath);
    expect(JSON.stringify(report)).not.toMatch(/mps_[\w-]{20}|eyJ[\w-]{10,}\.[\w-]{10}|BEGIN|gh[us]_/);
    await dataPath.expectNoSecretKept();
    const rows = await dataPath.audit({ session: report.session.id });
    expect(rows.filter(({ outcome }) => outcome === 'refused').length).toBeGreaterThan(2);
  });
});

describe.each([
  ['edges', ['edge']],
  ['renewal', ['token endpoint', 'session renewal', 'certificate renewal', 'configuration']],
  ['deny', ['mesh gateway', 'sidecar', 'root DENY']],
  ['serviceaccount', ['TokenReview', 'ServiceAccount']],
])('a drill on a broker whose step "%s" is sabotaged', (step, layers) => {
  let dataPath: DataPath;
  beforeAll(async () => {
    dataPath = await openDataPath({ command: sabotagedMeshpass(step) });
  });
  afterAll(() => dataPath?.close());

  it(`fails and names ${layers.join(', ')}`, async () => {
    expect(dataPath.meshpass.log()).toContain('LAB ONLY: ended sessions continue');
    const { code, report } = await drill(dataPath);
    const named = failed(report);
    // A certificate that is issued again recreates its ServiceAccount.
    if (step === 'renewal') named.delete('ServiceAccount');
    expect(named).toEqual(new Set(layers));
    expect(code).toBe(1);
  });
});
