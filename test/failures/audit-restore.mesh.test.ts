/**
 * The layout that is shipped: the audit log in PostgreSQL, its newest checkpoint in a ConfigMap that the broker cannot set back, and
 * nothing that survives in the pod. An attacker with the database cuts the log and has the pod recreated.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { upLab } from '@meshpass/lab';
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startPostgres, type TestPostgres } from '../../packages/broker/test/harness/postgres.ts';
import { codespaceProof, type DataPath, openDataPath, until } from '../mesh.ts';

const MAP = '/api/v1/namespaces/meshpass-system/configmaps/meshpass-audit-checkpoint';
const NAME = 'meshpass-system/meshpass-audit-checkpoint';
type ConfigMap = { data?: { epoch: string; size: string; note: string } };

let postgres: TestPostgres;
let dataPath: DataPath;

beforeAll(async () => {
  postgres = startPostgres();
  const flags = ['--database-url', postgres.url, '--audit-checkpoint-configmap', NAME];
  // Of an earlier run, and another log.
  const lab = await upLab({ with: ['workspace-2'] });
  await lab.kubernetes.call('DELETE', MAP).catch(() => undefined);
  dataPath = await openDataPath({ flags });
  await lab.down();
});
afterAll(async () => {
  await dataPath?.lab.kubernetes.call('DELETE', MAP).catch(() => undefined);
  await dataPath?.close();
  postgres?.stop();
});

const kept = async () => ((await dataPath.lab.kubernetes.call('GET', MAP)) as ConfigMap).data;
const ready = () => fetch(`${dataPath.meshpass.operatorUrl}/readyz`).then(({ status }) => status);

/** A new pod without any file of the previous one. */
function loseThePod(): void {
  rmSync(join(dataPath.lab.dir, 'meshpass/audit-checkpoint'), { force: true });
}

async function cut(): Promise<void> {
  const client = new pg.Client({ connectionString: postgres.url });
  await client.connect();
  await client.query(`set session_replication_role = 'replica'`);
  await client.query('delete from audit where seq > 2');
  await client.query('delete from audit_checkpoints');
  await client.end();
}

const acceptRestore = (...more: string[]) =>
  dataPath.lab.exec('meshpass', [
    ...['meshpass', 'audit', 'accept-restore', '--public-url', 'https://broker.meshpass.test:8443'],
    ...['--data', dataPath.meshpass.dataDir, '--database-url', postgres.url],
    ...[
      '--audit-checkpoint',
      join(dataPath.lab.dir, 'meshpass/audit-checkpoint'),
      '--audit-checkpoint-configmap',
      NAME,
    ],
    ...['--kubeconfig', join(dataPath.lab.dir, 'meshpass/kubeconfig'), ...more],
  ]);

it('a cut log is not signed by a new pod; a restore needs the database, the key and the right to annotate', async () => {
  for (let n = 0; n < 3; n++)
    expect(
      await dataPath
        .adversary()
        .as(`client ${n}`)
        .enrol(codespaceProof(await dataPath.codespace())),
    ).toMatchObject({ status: 200 });
  const signed = await until(kept, (data) => Number(data?.size) >= 5);
  expect(signed).toMatchObject({ epoch: '1', note: expect.stringMatching(/^broker\.meshpass\.test:8443\/audit\n/) });
  // A new pod on an untouched log.
  await dataPath.lab.kill('meshpass');
  loseThePod();
  await dataPath.lab.restart('meshpass');
  await until(ready, (status) => status === 200);

  await dataPath.lab.kill('meshpass');
  loseThePod();
  await cut();
  await expect(dataPath.lab.restart('meshpass')).rejects.toThrow();
  expect(dataPath.meshpass.log()).toMatch(
    /Cannot extend the audit log: a checkpoint of \d+ rows was signed \(the ConfigMap .*\[audit_log_behind\]/,
  );

  const shown = await acceptRestore();
  expect(shown).toMatchObject({ code: 2, stdout: expect.stringMatching(/^Epoch that begins: +2$/m) });
  const order = ['--reason', 'the disk broke', '--yes'];
  const alone = await acceptRestore(...order);
  expect(alone).toMatchObject({ code: 1, stderr: expect.stringContaining('accept-restore names it') });
  expect(alone.stderr).toContain(
    'kubectl -n meshpass-system annotate --overwrite configmap meshpass-audit-checkpoint meshpass.dev/accept-restore=2',
  );
  expect(await kept()).toMatchObject({ epoch: '1' });
  const consent = { metadata: { annotations: { 'meshpass.dev/accept-restore': '2' } } };
  await dataPath.lab.kubernetes.call('PATCH', MAP, consent, 'application/merge-patch+json');
  const declared = await acceptRestore(...order);
  expect(declared.code, declared.stderr).toBe(0);
  expect(await kept()).toMatchObject({ epoch: '2', size: '3' });

  loseThePod();
  await dataPath.lab.restart('meshpass');
  await until(ready, (status) => status === 200);
  const env = { MESHPASS_OPERATOR_TOKEN: dataPath.meshpass.operatorToken };
  const verify = ['meshpass', 'audit', 'verify', '--operator', dataPath.meshpass.operatorUrl];
  const verified = await dataPath.lab.exec('meshpass', verify, { env });
  expect(verified.code, verified.stdout).toBe(0);
  expect(verified.stdout).toMatch(
    /DECLARED GAP +a restore began epoch 2: signed rows 3 to \d+ are missing .*: the disk broke\)/,
  );
  await until(kept, (data) => Number(data?.size) > 3);
}, 180_000);
