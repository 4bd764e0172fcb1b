/** The version before this one, as it was given out: its chart, image and agent, built from its own tree by its own scripts. */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheFolder } from '@meshpass/lab/install/tools';
import { withLock } from '@meshpass/lab/lock';
import { must } from '@meshpass/lab/run';
import { nameLayout } from '../../deploy/image/oci.ts';

/** Commit of the last release; before the first one, what was given out last. docs/releasing.md says when it moves. */
export const PREVIOUS_COMMIT = '30790060061b5c0fc516bfddc9c65cc543466be9';

export interface PreviousVersion {
  /** Folder of its chart. */
  readonly chart: string;
  /** Archive of its image, which has another tag than that of this version. */
  readonly image: string;
  readonly tag: string;
  /** Path of its `meshpass`, with Envoy beside it. */
  readonly command: string;
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
export const REPOSITORY = 'ghcr.io/meshpass/meshpass';
const TAG = 'previous';
const ARCHIVE = `dist/image/meshpass-linux-${process.arch}.oci.tar`;

/** Whether this clone has that commit: a shallow one has not. */
export function previousIsThere(): boolean {
  try {
    execFileSync('git', ['cat-file', '-e', `${PREVIOUS_COMMIT}^{commit}`], { cwd: ROOT, stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Builds it, once on a machine. @throws Error with what a command said */
export async function previousVersion(): Promise<PreviousVersion> {
  const home = join(cacheFolder(), 'versions', PREVIOUS_COMMIT);
  const image = join(home, 'previous.oci.tar');
  await withLock(`version/${PREVIOUS_COMMIT}`, async () => {
    if (existsSync(image)) return;
    rmSync(home, { recursive: true, force: true });
    mkdirSync(home, { recursive: true });
    await checkOut(home);
    await installPackages(home);
    await must(['npm', 'run', '--silent', 'build:image'], 'lab_install', { cwd: home });
    renameImage(join(home, ARCHIVE), TAG, image);
  });
  const command = join(home, `dist/meshpass-linux-${process.arch}/meshpass`);
  return { chart: join(home, 'deploy/helm/meshpass'), image, tag: TAG, command };
}

// test/all.ts runs this file before the tests that need the version.
if (import.meta.main && previousIsThere()) await previousVersion();

/** Same image under another tag, in an archive that is complete once it exists. */
export function renameImage(archive: string, tag: string, output: string): void {
  const work = mkdtempSync(join(tmpdir(), 'meshpass-image-'));
  try {
    const layout = join(work, 'layout');
    mkdirSync(layout);
    execFileSync('tar', ['--extract', '--file', archive, '--directory', layout]);
    const { manifests } = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8'));
    nameLayout(layout, manifests[0], `${REPOSITORY}:${tag}`);
    const part = join(dirname(output), `.${tag}.part`);
    execFileSync('tar', ['--create', '--file', part, '--directory', layout, '.']);
    renameSync(part, output);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** A repository of its own with this one commit: builds ask Git for its name and date. */
async function checkOut(home: string): Promise<void> {
  const git = (...argv: string[]) => must(['git', ...argv], 'lab_install', { cwd: home });
  await git('init', '--quiet');
  await git('fetch', '--quiet', '--depth', '1', ROOT, PREVIOUS_COMMIT);
  await git('checkout', '--quiet', '--detach', 'FETCH_HEAD');
}

/** Modules of this tree if both have the same lockfile: links between packages are relative and lead into that tree. */
async function installPackages(home: string): Promise<void> {
  const lockfile = (tree: string) => readFileSync(join(tree, 'package-lock.json'), 'utf8');
  if (lockfile(home) !== lockfile(ROOT)) {
    await must(['npm', 'ci', '--no-audit', '--no-fund'], 'lab_install', { cwd: home });
    return;
  }
  const { workspaces } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { workspaces: string[] };
  const packages = ['.', ...globSync(workspaces, { cwd: ROOT })].filter((folder) =>
    existsSync(join(ROOT, folder, 'node_modules')),
  );
  for (const folder of packages) {
    const [from, to] = [ROOT, home].map((tree) => join(tree, folder, 'node_modules')) as [string, string];
    try {
      execFileSync('cp', ['--archive', '--link', from, to], { stdio: 'ignore' });
    } catch {
      // Another file system has no links to this one.
      rmSync(to, { recursive: true, force: true });
      cpSync(from, to, { recursive: true, verbatimSymlinks: true });
    }
  }
}
