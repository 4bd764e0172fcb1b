/** `meshpass` as users install it: the packages that npm publishes, built and installed in an empty folder. */
import { execFileSync } from 'node:child_process';
import { globSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Installs the packages without Envoy, which the lab has. @returns path of `meshpass`, which exists until this process ends */
export function installPublished(progress: (line: string) => void): string {
  progress('building and installing the packages that npm publishes');
  const folder = mkdtempSync(join(tmpdir(), 'meshpass-published-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const npm = (cwd: string, ...argv: string[]) => execFileSync('npm', [...argv, '--silent'], { cwd, encoding: 'utf8' });
  npm(ROOT, 'run', 'build');
  const packed = globSync(join(ROOT, 'packages/*/dist')).map((dist) =>
    join(folder, npm(dist, 'pack', '--pack-destination', folder).trim()),
  );
  writeFileSync(join(folder, 'package.json'), '{"private": true}');
  npm(folder, 'install', '--no-audit', '--no-fund', '--omit=optional', '--prefer-offline', ...packed);
  return join(folder, 'node_modules/.bin/meshpass');
}
