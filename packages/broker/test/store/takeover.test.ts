/** Several brokers on one PostgreSQL: one serves, and another takes its place in each way of ending. */
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { createCsr } from '@meshpass/identity';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readExport } from '../../src/audit/export/export.ts';
import { verifyExport } from '../../src/audit/export/verify.ts';
import { keyFileStorage } from '../../src/core/token/key-storage.ts';
import { openSigner } from '../../src/core/token/signer.ts';
import { type BrokerProcess, type Brokers, brokersOnPostgres, type Held, until } from '../harness/brokers.ts';
import { postgresIsThere } from '../harness/postgres.ts';

const SLOW = 120_000;

describe.skipIf(!postgresIsThere)('of two brokers on one PostgreSQL', () => {
  let brokers: Brokers;
  let first: BrokerProcess;
  let second: BrokerProcess;

  beforeEach(async () => {
    brokers = await brokersOnPostgres();
    first = await brokers.start('first');
    await until(
      () => readiness(first),
      ({ status }) => status === 200,
    );
  }, SLOW);
  afterEach(() => brokers.close(), SLOW);

  const standBy = async () => {
    second = await brokers.start('second');
    await until(
      () => readiness(second),
      ({ reasons }) => reasons.some((reason) => reason.startsWith('standing by')),
    );
  };
  const takenOver = () =>
    until(
      () => readiness(second),
      ({ status }) => status === 200,
    );
  /** Keeps asking while a broker refuses the proofs of the second in which it began. */
  const lives = (at: BrokerProcess, who: Held) =>
    until(
      () => brokers.renew(at, who),
      (answer) => answer.kind !== 'refused' || answer.error_code !== 'dpop_expired',
    );
  const rows = async (at: BrokerProcess) =>
    JSON.parse((await at.operator('/audit?limit=1000')).text).rows as Record<string, string>[];

  it(
    'one waits, reports that, and accepts no connection; a wrong key, or a wrong name, is found before it matters',
    async () => {
      await standBy();
      const waiting = await second.operator('/readyz');
      expect(waiting.status).toBe(503);
      expect(JSON.parse(waiting.text)).toMatchObject({
        status: 'standby',
        reasons: [expect.stringMatching(new RegExp(`^standing by: broker .* process ${first.child.pid} is active$`))],
      });
      expect((await second.operator('/healthz')).status).toBe(200);
      expect((await second.operator('/readyz?standby=ready')).status).toBe(200);
      expect((await second.operator('/metrics')).text).toContain('\nmeshpass_broker_active 0\n');
      expect((await first.operator('/metrics')).text).toContain('\nmeshpass_broker_active 1\n');
      expect((await second.operator('/audit')).status).toBe(503);
      expect(await once(connect(second.port, '127.0.0.1'), 'error').catch((error) => [error])).toMatchObject([
        { code: 'ECONNREFUSED' },
      ]);

      const signingKeyFile = `${brokers.dir}/other.pem`;
      await openSigner(keyFileStorage(signingKeyFile));
      const third = await brokers.start('third', { signingKeyFile });
      expect(await third.exited).toBe(2);
      expect(third.logged()).toMatch(/config_invalid .*cannot stand by .*the signing key .*differs/);
      // To be told to end is no failure.
      second.child.kill('SIGTERM');
      expect(await second.exited).toBe(0);
      expect((await readiness(first)).status).toBe(200);
    },
    SLOW,
  );

  it(
    'killed in the middle of exchanges, one loses nothing that it acknowledged, and the other continues',
    async () => {
      await standBy();
      const held: Held[] = [];
      let killedAt = 0;
      let answeredAfter = 0;
      let enough = false;
      const lane = async (name: string) => {
        for (let n = 0; !enough; n++) {
          const session = await brokers.open([first, second], `${name}-${n}`);
          held.push(session);
          if (session.by === second) answeredAfter ||= performance.now() - killedAt;
          if (held.length === 120) {
            first.child.kill('SIGKILL');
            killedAt = performance.now();
          }
          enough = held.length >= 240;
        }
      };
      const lanes = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'].map(lane);
      await Promise.all(lanes);
      console.log(`killed; the first session of the other one after ${Math.round(answeredAfter)} ms`);
      for (const session of held) expect(await lives(second, session)).toHaveProperty('lease_expires_at');

      const log = await rows(second);
      const opened = new Set(log.filter((row) => row.action === 'session.open').map((row) => row.session_id));
      expect(held.filter(({ session }) => !opened.has(session.id))).toEqual([]);
      const starts = log.filter((row) => row.action === 'broker.start').map((row) => JSON.parse(row.detail!));
      expect(starts).toMatchObject([{ restored: 0 }, { after: expect.stringContaining(`process ${first.child.pid}`) }]);
      expect(starts[1].epoch).toBeGreaterThan(starts[0].epoch);
      expect(await verified(second)).toMatchObject({ ok: true, problems: [] });
    },
    SLOW,
  );

  it(
    'sessions that ended just before a kill stay ended, and the other broker updates the mesh',
    async () => {
      await standBy();
      const [ending, staying] = [await brokers.open([first], 'ending'), await brokers.open([first], 'staying')];
      const principal = await certified(first, ending);
      expect((await brokers.call(first, ending, 'DELETE', '/session')).status).toBe(204);
      first.child.kill('SIGKILL');
      await takenOver();
      expect(await lives(second, ending)).toMatchObject({ error_code: 'session_unknown' });
      expect(await lives(second, staying)).toHaveProperty('lease_expires_at');
      await until(second.said, (said) => said.includes(principal));
    },
    SLOW,
  );

  it(
    'the one that waits takes over with the current signing keys, and never with one that was dropped as stolen',
    async () => {
      const { kid: stolen } = await openSigner(keyFileStorage(brokers.signingKeyFile));
      await standBy();
      const answer = await first.operator('/admin/trust/rotate', { revoke: true, reason: 'stolen' });
      expect(answer.status, answer.text).toBe(200);
      const { kid, dropped } = JSON.parse(answer.text) as { kid: string; dropped: string[] };
      expect(dropped).toEqual([stolen]);
      first.child.kill('SIGKILL');
      await takenOver();
      const published = async () =>
        ((await brokers.get(second, '/jwks')).json.keys as { kid: string }[]).map((key) => key.kid);
      const [signing, next, ...others] = await published();
      expect([signing, others]).toEqual([kid, []]);
      expect(next).not.toBe(stolen);
      await until(
        async () => JSON.parse((await holder(brokers)) ?? '{}').shared?.signingKeys as string[] | undefined,
        (announced) => announced?.join() === [kid, next].join(),
      );
      // It changes them like the previous broker.
      const again = await second.operator('/admin/trust/rotate', { revoke: true, reason: 'stolen again' });
      expect(JSON.parse(again.text)).toMatchObject({ kid: next, dropped: [kid] });
    },
    SLOW,
  );

  it(
    'frozen, one is replaced; awake again it answers nothing, writes nothing, and ends',
    async () => {
      await standBy();
      const session = await brokers.open([first], 'alice');
      expect((await brokers.renew(first, session)).kind).toBe('lease');
      first.child.kill('SIGSTOP');
      const frozenAt = performance.now();
      // These wait in its sockets until it wakes up: one that would write, one that would not.
      const asked = [
        brokers.renew(first, session).then((answer) => (answer.kind === 'refused' ? answer.status : answer.kind)),
        brokers.call(first, session, 'GET', '/services').then(({ status }) => status),
        brokers.call(first, session, 'DELETE', '/session').then(({ status }) => status),
      ].map((answer) => answer.catch(() => 503));
      await takenOver();
      console.log(`frozen; the other one ready after ${Math.round(performance.now() - frozenAt)} ms`);
      const fresh = await brokers.open([second], 'bob');
      expect(await lives(second, session)).toHaveProperty('lease_expires_at');
      const before = await rows(second);

      first.child.kill('SIGCONT');
      expect(await first.exited).toBe(3);
      expect(await Promise.all(asked)).toEqual([503, 503, 503]);
      expect(first.logged()).toContain('another broker has taken over');
      expect(await lives(second, session)).toHaveProperty('lease_expires_at');
      expect(await lives(second, fresh)).toHaveProperty('lease_expires_at');
      expect(await rows(second)).toEqual(before);
      expect(await verified(second)).toMatchObject({ ok: true, problems: [] });
    },
    SLOW,
  );

  it(
    'one releases its place at once on a request to end',
    async () => {
      await standBy();
      const session = await brokers.open([first], 'alice');
      first.child.kill('SIGTERM');
      expect(await first.exited).toBe(0);
      await takenOver();
      expect(await lives(second, session)).toHaveProperty('lease_expires_at');
      expect((await rows(second)).map(({ action }) => action).filter((one) => one?.startsWith('broker.'))).toEqual([
        'broker.start',
        'broker.stop',
        'broker.start',
      ]);
    },
    SLOW,
  );

  it(
    'one that loses its connections takes the lock again, and continues unchanged',
    async () => {
      const session = await brokers.open([first], 'alice');
      const admin = new pg.Client({ connectionString: brokers.postgres.url });
      await admin.connect();
      const { rowCount } = await admin.query(
        `select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'meshpass-broker%'`,
      );
      await admin.end();
      expect(rowCount).toBeGreaterThan(1);
      expect((await brokers.renew(first, session)).kind).toBe('lease');
      await brokers.open([first], 'bob');
      expect((await rows(first)).filter(({ action }) => action === 'broker.start')).toHaveLength(1);
      // Somebody has the lock: one that comes now waits.
      await standBy();
    },
    SLOW,
  );

  it(
    'without its database one stops serving after a while, lets no lease lapse by that, and recovers by itself',
    async () => {
      const LEASE = 5;
      first.child.kill('SIGTERM');
      await first.exited;
      first = await brokers.start('short', { leaseSeconds: LEASE });
      await until(
        () => readiness(first),
        ({ status }) => status === 200,
      );
      const session = await brokers.open([first], 'alice');
      brokers.postgres.crash!();
      await until(
        () => brokers.renew(first, session),
        (answer) => answer.kind === 'refused' && answer.error_code === 'store_unavailable' && answer.status === 503,
      );
      expect((await readiness(first)).reasons).toContain(
        'the broker cannot determine whether another broker has taken over',
      );
      expect((await first.operator('/metrics')).text).toContain('\nmeshpass_broker_active 0\n');
      // The lease has expired long ago.
      await new Promise((resolve) => setTimeout(resolve, (LEASE + 1) * 1_000));
      brokers.postgres.start!();
      await until(
        () => readiness(first),
        ({ status }) => status === 200,
      );
      expect(await lives(first, session)).toHaveProperty('lease_expires_at');
      expect((await rows(first)).map(({ action }) => action)).not.toContain('session.close');
    },
    SLOW,
  );

  /** Issues a certificate for the session, so that its end has something to revoke. */
  async function certified(at: BrokerProcess, who: Held): Promise<string> {
    const csr = createCsr(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
    const answer = await brokers.call(at, who, 'POST', '/certificates', { certificates: [{ grant: 'dev', csr }] });
    expect(answer.status, answer.text).toBe(200);
    return answer.json.certificates[0].spiffe_id;
  }
});

async function readiness(of: BrokerProcess): Promise<{ status: number; reasons: string[] }> {
  const { status, text } = await of.operator('/readyz');
  return { status, reasons: status === 0 ? [] : JSON.parse(text).reasons };
}

/** Entry of the active broker in the store. */
async function holder({ postgres }: Brokers): Promise<string | undefined> {
  const client = new pg.Client({ connectionString: postgres.url });
  await client.connect();
  try {
    return (await client.query('select holder from broker_epoch')).rows[0]?.holder;
  } finally {
    await client.end();
  }
}

async function verified(by: BrokerProcess) {
  const lines = (await by.operator('/audit/export')).text.trim().split('\n');
  async function* each() {
    yield* lines;
  }
  return await verifyExport(await readExport(each()));
}
