/** PostgreSQL server for tests if its programs are installed; otherwise that of DATABASE_URL; otherwise none. */
import { execFileSync, spawnSync } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TestPostgres {
  readonly url: string;
  readonly stop: () => void;
  /** Stops the server at once, like a crash; absent for a foreign server. */
  readonly crash?: () => void;
  readonly start?: () => void;
}

const ROOT = '/usr/lib/postgresql';

function binaries(): string | undefined {
  if (!existsSync(ROOT)) return undefined;
  const newest = readdirSync(ROOT).sort((a, b) => Number(b) - Number(a))[0];
  const bin = join(ROOT, newest ?? '', 'bin');
  return existsSync(join(bin, 'initdb')) ? bin : undefined;
}

export const postgresIsThere = binaries() !== undefined || process.env.DATABASE_URL !== undefined;

/** Engine of the store, and whether it is available. */
export const ENGINES: readonly (readonly ['pglite' | 'postgres', boolean])[] = [
  ['pglite', true],
  ['postgres', postgresIsThere],
];

export function startPostgres(): TestPostgres {
  const bin = binaries();
  if (!bin) return { url: process.env.DATABASE_URL!, stop: () => {} };
  const dir = mkdtempSync(join(tmpdir(), 'meshpass-postgres-'));
  // PostgreSQL refuses to run as root.
  const asRoot = process.getuid?.() === 0;
  const user = { uid: asRoot ? 65_534 : process.getuid!(), gid: asRoot ? 65_534 : process.getgid!() };
  if (asRoot) chownSync(dir, user.uid, user.gid);
  const data = join(dir, 'data');
  const run = (program: string, args: string[]) =>
    execFileSync(join(bin, program), args, { ...user, cwd: dir, stdio: ['ignore', 'ignore', 'pipe'] });
  run('initdb', ['-D', data, '-U', 'meshpass', '--auth=trust', '--no-sync']);
  const start = () =>
    run('pg_ctl', ['-D', data, '-w', '-o', `-c listen_addresses='' -k ${dir}`, '-l', join(dir, 'log'), 'start']);
  start();
  return {
    url: `postgres://meshpass@/postgres?host=${encodeURIComponent(dir)}`,
    start,
    crash: () => run('pg_ctl', ['-D', data, '-w', '-m', 'immediate', 'stop']),
    stop: () => {
      spawnSync(join(bin, 'pg_ctl'), ['-D', data, '-w', '-m', 'immediate', 'stop'], { ...user, cwd: dir });
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
