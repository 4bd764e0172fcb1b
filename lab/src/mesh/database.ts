/** ledger-db.shop: a real PostgreSQL. The mesh decides who reaches it, so it asks for no password. */
import { appendFileSync, chownSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { enterHost } from '../network/enter.ts';
import type { Host } from '../plan.ts';
import { must } from '../run.ts';
import type { Unit } from '../unit.ts';

/** Uid of the user `nobody`, because PostgreSQL refuses to run as root and needs an existing user. */
const DATABASE_UID = 65534;

const SETTINGS = `
listen_addresses = '0.0.0.0'
unix_socket_directories = ''
fsync = off
shared_buffers = 16MB
max_connections = 200
dynamic_shared_memory_type = mmap
jit = off
`;

/** After a kill, its old process id may still be in the process table as a zombie, and keep PostgreSQL from starting. */
const FRESH_START = 'rm -f "$1/postmaster.pid" && exec "$0" -D "$1"';

/** Statements for each database, one a line, in the form that PostgreSQL's single-user mode reads. */
const LEDGER: Readonly<Record<string, readonly string[]>> = {
  postgres: ['CREATE ROLE ledger LOGIN;', 'CREATE DATABASE ledger OWNER ledger;'],
  ledger: [
    'CREATE TABLE ledger (id bigint PRIMARY KEY, account text NOT NULL, cents bigint NOT NULL);',
    "INSERT INTO ledger SELECT n, 'account-' || n % 10, n * 100 FROM generate_series(1, 100) AS n;",
    'ALTER TABLE ledger OWNER TO ledger;',
  ],
};

/** Makes the database cluster with role, database and table `ledger`; describes its unit. */
export async function prepareDatabase(dir: string, host: Host, postgresBin: string): Promise<Unit> {
  const cwd = join(dir, 'hosts', host.name, 'postgres');
  const data = join(cwd, 'data');
  const env = { PATH: process.env.PATH ?? '', HOME: cwd, LC_ALL: 'C.UTF-8', TZ: 'UTC' };
  if (!existsSync(data)) {
    mkdirSync(cwd, { recursive: true });
    chownSync(cwd, DATABASE_UID, DATABASE_UID);
    const asDatabase = (argv: readonly string[], input = ''): Promise<string> =>
      must(enterHost(host.netns, argv, DATABASE_UID), 'lab_start', { cwd, env, input });
    // biome-ignore format: one command
    await asDatabase([join(postgresBin, 'initdb'), '-D', data, '-U', 'postgres', '--auth=trust', '--no-sync', '--no-instructions', '--encoding=UTF8', '--locale=C']);
    writeFileSync(join(data, 'pg_hba.conf'), 'host all all 0.0.0.0/0 trust\n');
    appendFileSync(join(data, 'postgresql.conf'), SETTINGS);
    for (const [database, statements] of Object.entries(LEDGER)) {
      await asDatabase([join(postgresBin, 'postgres'), '--single', '-D', data, database], `${statements.join('\n')}\n`);
    }
  }
  return {
    name: 'postgres',
    host: host.name,
    netns: host.netns,
    argv: ['sh', '-c', FRESH_START, join(postgresBin, 'postgres'), data],
    env,
    cwd,
    uid: DATABASE_UID,
    ready: { log: 'ready to accept connections' },
  };
}
