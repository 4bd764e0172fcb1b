/**
 * Audit rows that sessions write in an hour, and their space in PostgreSQL, indexes included: each session with the
 * renewals of an agent (12 certificates, 24 identity tokens) and a few tunnels. Broker, journal and database are real.
 *   node bench/sessions/audit-rows.ts [sessions]
 */
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { asSession, certificates, derive, session, startHarness } from '../../packages/broker/test/harness/broker.ts';
import { grant } from '../../packages/broker/test/harness/mesh.ts';
import { startPostgres } from '../../packages/broker/test/harness/postgres.ts';

const SESSIONS = Number(process.argv[2] ?? 40);
const CERTIFICATES = 12;
const TOKENS = 24;
const TUNNELS = 10;

const postgres = startPostgres();
const harness = await startHarness({ config: { databaseUrl: postgres.url } });
try {
  harness.mesh.setAccess([grant('payments-dev')]);
  for (let n = 0; n < SESSIONS; n++) await oneHour(await session(harness, `developer-${n}@example.com`));
  const client = new pg.Client({ connectionString: postgres.url });
  await client.connect();
  await client.query('vacuum analyze audit');
  const { rows } = await client.query(`
    select action, count(*)::int as rows, round(avg(pg_column_size(audit.*)))::int as bytes from audit group by action order by 2 desc`);
  console.table(rows);
  const [all] = (
    await client.query(`
    select count(*)::int as rows, pg_total_relation_size('audit')::int as bytes from audit`)
  ).rows;
  console.log(
    `${(all.rows / SESSIONS).toFixed(0)} rows a session, ${(all.bytes / all.rows).toFixed(0)} bytes a row with its indexes`,
  );
  await client.end();
} finally {
  await harness.stop();
  postgres.stop();
}

async function oneHour(who: Awaited<ReturnType<typeof session>>): Promise<void> {
  for (let n = 0; n < CERTIFICATES; n++) await certificates(harness, who, ['payments-dev']);
  for (let n = 0; n < TOKENS; n++) await derive(harness, who);
  const tunnels = Array.from({ length: TUNNELS }, () =>
    (['allowed', 'ended'] as const).map((outcome) => ({
      id: randomUUID(),
      at: Date.now(),
      outcome,
      reason: 'The target is granted.',
      source: '203.0.113.7:41234',
      session_id: who.session.id,
      target: 'orders.shop.svc.cluster.local:8080',
      sni: 'outbound_.8080_._.orders.shop.svc.cluster.local',
      ...(outcome === 'ended' && { bytes_in: 1234, bytes_out: 56_789, duration_ms: 60_000 }),
    })),
  );
  await harness.broker.reportEdgeDecisions(tunnels.flat());
  await asSession(harness, who, { method: 'DELETE', path: '/session' });
}
