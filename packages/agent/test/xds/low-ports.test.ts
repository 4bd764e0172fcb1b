import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { mayListenOn } from '../../src/xds/low-ports.ts';

it('ports that need no right may be listened on', () => {
  expect(mayListenOn(1024)).toBe(true);
  expect(mayListenOn(8080)).toBe(true);
});

it('is what the system lets a user without rights do', async () => {
  const file = fileURLToPath(new URL('../../src/xds/low-ports.ts', import.meta.url));
  const program = `
    const { mayListenOn } = await import(${JSON.stringify(file)});
    process.setgroups?.([]); process.setgid?.(65534); process.setuid?.(65534);
    const { createServer } = await import('node:net');
    const server = createServer().once('error', () => done(false)).listen(81, '127.64.99.1', () => done(true));
    function done(listens) { process.stdout.write(JSON.stringify([mayListenOn(81), listens])); process.exit(); }
  `;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program]);
  const [may, does] = JSON.parse(stdout) as [boolean, boolean];
  expect(may).toBe(does);
  const first = Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8'));
  expect(may).toBe(first <= 81);
});
