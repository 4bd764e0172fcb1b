/**
 * How long no broker serves when the active one of two brokers on one PostgreSQL is killed (SIGKILL), with many live sessions,
 * and the snapshot that every edge gets then. Everything is on one machine; two cores are enough.
 *   node bench/takeover.ts [sessions]
 */
import { request } from 'node:https';
import pg from 'pg';
import { type BrokerProcess, brokersOnPostgres, until } from '../packages/broker/test/harness/brokers.ts';
import { cpuMicros } from './data-path/cpu.ts';

const count = Number(process.argv[2] ?? 10_000);
const readyz = (of: BrokerProcess) => of.operator('/readyz');

const brokers = await brokersOnPostgres(3600);
try {
  const first = await brokers.start('first');
  await until(
    () => readyz(first),
    ({ status }) => status === 200,
  );
  await brokers.open([first], 'alice');
  await copyTheOneSession(brokers.postgres.url, count - 1);
  const second = await brokers.start('second');
  await until(
    () => readyz(second),
    ({ text }) => text.includes('standing by'),
  );
  const killedAt = performance.now();
  const cpuBefore = cpuMicros(second.child.pid!);
  first.child.kill('SIGKILL');
  await until(
    () => readyz(second),
    ({ status }) => status === 200,
  );
  const readyAfter = performance.now() - killedAt;
  const cpu = cpuMicros(second.child.pid!) - cpuBefore;
  const snapshot = await firstLine(second.port);
  const held = (JSON.parse(snapshot.line) as { sessions: readonly unknown[] }).sessions.length;
  if (held !== count) throw new Error(`the other broker has ${held} sessions, and not ${count}`);
  console.log(
    `${count} sessions: ready ${Math.round(readyAfter)} ms after kill -9, on ${Math.round(cpu / 1000)} ms of its CPU`,
  );
  console.log(
    `snapshot for an edge: ${(snapshot.line.length / 1e6).toFixed(1)} MB, whole after ${Math.round(snapshot.ms)} ms`,
  );
} finally {
  await brokers.close();
}

/** Sessions as an agent would have opened them, but for their ids. */
async function copyTheOneSession(databaseUrl: string, copies: number): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  const copy = async (table: string, fresh: Record<string, string>) => {
    const changed = Object.entries(fresh).map(([column, value]) => `'${column}', ${value}`);
    await client.query(
      `insert into ${table} select r.* from (select * from ${table} limit 1) t, generate_series(1, $1::int) n,
       lateral jsonb_populate_record(null::${table}, to_jsonb(t) || jsonb_build_object(${changed.join(', ')})) r`,
      [copies],
    );
  };
  const padded = `'copy-' || n`;
  await copy('sessions', {
    id: padded,
    token_hash: padded,
    workspace_key: padded,
    attestation: `replace(t.attestation, t.workspace_key, 'copy-' || n)`,
  });
  await copy('session_principals', {
    session_id: padded,
    service_account: padded,
    spiffe_id: `'spiffe://cluster.local/ns/' || t.namespace || '/sa/' || ${padded}`,
  });
  await client.end();
}

/** Snapshot from `GET /edge/stream`. */
function firstLine(port: number): Promise<{ line: string; ms: number }> {
  const asked = performance.now();
  const headers = { authorization: 'Bearer edge-token' };
  return new Promise((resolve, reject) => {
    const asking = request(
      { host: '127.0.0.1', port, path: '/edge/stream', headers, rejectUnauthorized: false },
      (answer) => {
        let text = '';
        answer.on('data', (chunk: Buffer) => {
          text += chunk;
          const end = text.indexOf('\n');
          if (end < 0) return;
          resolve({ line: text.slice(0, end), ms: performance.now() - asked });
          asking.destroy();
        });
      },
    );
    asking.on('error', reject);
    asking.end();
  });
}
