/** An access file that another version of Meshpass has applied by plan. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { createStoredAccessReader } from '../../src/admin/policy/stored-access.ts';
import { createLogger } from '../../src/base/telemetry/log.ts';
import { createMetrics } from '../../src/base/telemetry/metrics.ts';
import { keyFileStorage } from '../../src/core/token/key-storage.ts';
import { openSigner } from '../../src/core/token/signer.ts';
import { becomeActive, startStandby, waitForLeadership } from '../../src/start/standby.ts';
import { openStore, type Store } from '../../src/store/open.ts';
import { playMesh } from '../harness/mesh.ts';
import { postgresIsThere, startPostgres } from '../harness/postgres.ts';
import { releaseStore, reusedStore } from '../harness/store/engines.ts';

const SLOW = 120_000;
/** Earlier versions accepted a list of actions that needed a second person. */
const REFUSED = `trust: {issuers: {idp: {issuer: 'https://idp.example', audience: meshpass, signIn: {client: c}}}}
operators: {admin: [{issuer: idp, claims: {sub: ada}}], secondPerson: [rotation.revoke]}
grants: {dev: {who: [{issuer: idp}], to: [{service: orders.shop, port: 8080}]}}
`;
const TAKEN = REFUSED.replace(', secondPerson: [rotation.revoke]', '');
const WHY = /^This version of Meshpass rejects the access file that was applied by plan as version 2: .*"secondPerson"/;

const filesOf = (text: string) => JSON.stringify({ 'access.yaml': text });
const rowOf = (text: string) => ({ version: '2', main: 'access.yaml', files: filesOf(text) });
const apply = ({ db }: Store, version: number, text: string) =>
  sql`insert into access_versions values (${version}, now(), 'ann', 'r', 'p', 'access.yaml', ${filesOf(text)})`.execute(
    db,
  );

it('is read once for each version, and refused with the reason and the next step', () => {
  const read = createStoredAccessReader();
  const check = (applied: ReturnType<typeof rowOf>) => read({ applied, inForce: undefined }).refused;
  expect(check(rowOf(TAKEN))).toBeUndefined();
  const row = rowOf(REFUSED);
  const seen = { applied: row, inForce: undefined };
  expect(read(seen).refused).toMatch(WHY);
  expect(check(row)).toMatch(/Start the version of Meshpass that applied it, apply a file that both versions accept/);
  expect(read(seen).refused).toMatch(WHY);
  row.files = filesOf(TAKEN);
  expect(read(seen).refused).toMatch(WHY);
  expect(check({ ...row })).toBeUndefined();
  expect(check({ ...row, files: '[' })).toMatch(/version 2: Unexpected end/);
});

describe('a broker that becomes the active one', () => {
  let store: Store;
  let dataDir: string;
  beforeEach(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'meshpass-applied-'));
    store = await openStore(await reusedStore(dataDir));
  });
  afterEach(async () => {
    await store.close();
    await releaseStore(dataDir);
    rmSync(dataDir, { recursive: true, force: true });
  });

  it('continues with the newest, and reports versions that it cannot continue with', async () => {
    const resume = vi.fn();
    const signer = await openSigner(keyFileStorage(join(dataDir, 'signing-key.pem')));
    const given = { signer, policy: { mesh: { resume } }, mesh: playMesh() };
    const base = { given, config: { tokenSeconds: 300 }, clock: Date.now };
    const become = () => becomeActive(base as never, { waitFor: () => {} } as never, { store, waited: false });
    await become();
    expect(resume).not.toHaveBeenCalled();
    await apply(store, 1, TAKEN);
    await become();
    expect(resume.mock.lastCall![0].grants).toHaveLength(1);
    await apply(store, 2, REFUSED);
    await expect(become()).rejects.toMatchObject({
      code: 'access_file_unknown_key',
      message: expect.stringMatching(WHY),
    });
    expect(resume).toHaveBeenCalledTimes(1);
  });
});

describe.skipIf(!postgresIsThere)('a broker that stands by', () => {
  it(
    'is not ready to take over while it refuses the file, so that an update stops before the active one ends',
    async () => {
      const postgres = startPostgres();
      onTestFinished(() => postgres.stop());
      const config = { dataDir: tmpdir(), databaseUrl: postgres.url, operator: { host: '127.0.0.1', port: 0 } };
      const active = await openStore(config);
      const stop = new AbortController();
      const given = { mesh: playMesh(), policy: {}, signal: stop.signal };
      const base = { config, given, metrics: createMetrics(), log: createLogger('broker', 'silent') };
      const standby = await startStandby(base as never);
      const waiting = waitForLeadership(base as never, standby, {} as never);
      waiting.catch(() => undefined);
      const readyz = async () => {
        const answer = await fetch(`http://127.0.0.1:${standby.operator.port}/readyz?standby=ready`);
        return { status: answer.status, text: await answer.text() };
      };
      await expect.poll(readyz, { timeout: 30_000 }).toMatchObject({ status: 200 });
      await apply(active, 2, REFUSED);
      await expect.poll(readyz, { timeout: 30_000 }).toMatchObject({
        status: 503,
        text: expect.stringContaining('rejects the access file that was applied by plan as version 2'),
      });
      await apply(active, 3, TAKEN);
      await expect.poll(readyz, { timeout: 30_000 }).toMatchObject({ status: 200 });
      stop.abort();
      await expect(waiting).rejects.toThrow();
      await standby.operator.stop(0);
      await active.close();
    },
    SLOW,
  );
});
