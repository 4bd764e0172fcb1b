/**
 * Steady traffic by name from a host of the lab, as a developer's programs make it: HTTP on kept connections and on new
 * ones, SQL on one connection that stays and on new ones. A JSON line each second; at the end of standard input the whole
 * account. It runs on a host of the lab (steady-traffic.ts starts it).
 */
import { Agent, get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

export interface Account {
  readonly done: Readonly<Record<string, number>>;
  readonly failures: readonly { readonly at: string; readonly what: string; readonly why: string }[];
}

/** Between two of one kind, ms: a few dozen requests a second together. */
const PAUSE_MS = 60;
const PATIENCE_MS = 20_000;
const HTTP = 'http://orders.shop:8080/orders/1';
const SQL = { host: 'ledger-db.shop', user: 'ledger', database: 'ledger', connectionTimeoutMillis: PATIENCE_MS };

const done: Record<string, number> = {};
const failures: Account['failures'][number][] = [];
let over = false;

const kept = new Agent({ keepAlive: true, maxSockets: 1 });
const staying = new pg.Client(SQL);
staying.on('error', (error) => failed('SQL, connection that stays', error));
await staying.connect();
await Promise.all([
  again('HTTP, kept connection', () => request(kept)),
  again('HTTP, new connection', () => request(new Agent({ keepAlive: false }))),
  again('SQL, connection that stays', () => staying.query('select count(*) from ledger')),
  again('SQL, new connection', async () => {
    const client = new pg.Client(SQL);
    client.on('error', () => {}); // the query fails by it
    await client.connect();
    await client.query('select count(*) from ledger');
    await client.end();
  }),
  tell(),
]);
await staying.end().catch(() => {});

async function again(what: string, act: () => Promise<unknown>): Promise<void> {
  while (!over) {
    try {
      await act();
      done[what] = (done[what] ?? 0) + 1;
    } catch (thrown) {
      failed(what, thrown);
    }
    await sleep(PAUSE_MS);
  }
}

function failed(what: string, thrown: unknown): void {
  failures.push({ at: new Date().toISOString(), what, why: String(thrown).slice(0, 500) });
}

function request(agent: Agent): Promise<void> {
  return new Promise((resolve, reject) => {
    const sent = get(HTTP, { agent, timeout: PATIENCE_MS }, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (part: string) => {
        text += part;
      });
      answer.on('error', reject);
      answer.on('end', () => {
        if (answer.statusCode === 200 && text.includes('"shipped"')) resolve();
        else reject(new Error(`${answer.statusCode} ${text}`));
      });
    });
    sent.on('timeout', () => sent.destroy(new Error('no answer in time')));
    sent.on('error', reject);
  });
}

async function tell(): Promise<void> {
  process.stdin.on('end', () => {
    over = true;
  });
  process.stdin.resume();
  while (!over) {
    await sleep(1_000);
    console.log(JSON.stringify({ done, failures } satisfies Account));
  }
}
