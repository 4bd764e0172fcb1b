/** The devcontainer Feature's install.sh, in clean roots of Debian, as tools for dev containers run it. No lab is needed. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  copyDebianRoot,
  type DebianRelease,
  inRoot,
  installFeature,
  REMOTE_USER,
  ROOT_PATH,
} from '@meshpass/lab/devcontainer/root';
import { ensureCommand } from '@meshpass/lab/install/debian';
import { run } from '@meshpass/lab/run';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type PreparedFeature, prepareFeature } from '../../bench/feature/prepare.ts';

const FOLDER = 'usr/local/lib/meshpass';

let feature: PreparedFeature;
let work: string;
beforeAll(async () => {
  feature = await prepareFeature();
  work = mkdtempSync(join(tmpdir(), 'meshpass-roots-'));
});
afterAll(() => {
  feature?.close();
  if (work) rmSync(work, { recursive: true, force: true });
});

const options = (more: Record<string, string> = {}) => ({
  BROKER: 'https://broker.example.com',
  MIRROR: feature.mirror,
  ...more,
});

const newRoot = async (release: DebianRelease, name: string): Promise<string> => {
  const root = join(work, name);
  await copyDebianRoot(release, root);
  return root;
};

const asUser = (root: string, ...argv: readonly string[]) => {
  const user = ['setpriv', `--reuid=${REMOTE_USER.uid}`, `--regid=${REMOTE_USER.uid}`, '--clear-groups'];
  return run(inRoot(root, ['/usr/bin/env', '-i', `PATH=${ROOT_PATH}`, `HOME=${REMOTE_USER.home}`, ...user, ...argv]));
};

/** Names, sizes, modes and owners; the settings and the programs themselves. */
const contents = (root: string): string =>
  execFileSync('find', [join(root, FOLDER), '-type', 'f', '-printf', '%P %s %m %u\n'], { encoding: 'utf8' })
    .split('\n')
    .sort()
    .join('\n') + readFileSync(join(root, FOLDER, 'settings'), 'utf8');

it('has scripts in which shellcheck finds nothing', async () => {
  await ensureCommand('shellcheck');
  const scripts = ['install.sh', 'start.sh', 'command.sh', 'entrypoint.sh'].map((name) => join(feature.folder, name));
  expect(await run(['shellcheck', ...scripts])).toMatchObject({ code: 0, stdout: '' });
});

describe.each(['bookworm', 'trixie'] as const)('on a clean Debian %s', (release) => {
  let root: string;
  beforeAll(async () => {
    root = await newRoot(release, release);
  });

  it('installs, and names each package that was missing', async () => {
    const installed = await installFeature(root, feature.folder, options());
    expect(installed).toMatchObject({ code: 0 });
    expect(installed.stdout).toContain('installing missing packages: curl libatomic1');
    expect(installed.stdout).toContain('downloading http://127.0.0.1');
    expect(await asUser(root, 'meshpass', '--version')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^\d/),
    });
    expect(await asUser(root, `/${FOLDER}/envoy`, '--version')).toMatchObject({ code: 0 });
  });

  it('leaves nothing that the remote user may change, and no program with rights of its own', () => {
    const odd = ['(', '!', '-user', 'root', '-o', '-perm', '/6022', ')', '!', '-type', 'l'];
    const found = execFileSync('find', [join(root, FOLDER), ...odd], { encoding: 'utf8' });
    expect(found).toBe('');
  });

  it('does nothing the second time, and calls no package manager', async () => {
    const before = contents(root);
    const again = await installFeature(root, feature.folder, options());
    expect(again).toMatchObject({ code: 0, stderr: '' });
    expect(again.stdout).not.toMatch(/downloading|missing/);
    expect(contents(root)).toBe(before);
  });

  it('applies changed options the second time', async () => {
    await installFeature(root, feature.folder, options({ BROKER: 'https://other.example.com', BYNAME: 'false' }));
    const settings = readFileSync(join(root, FOLDER, 'settings'), 'utf8');
    expect(settings).toContain("meshpass_broker='https://other.example.com'");
    expect(settings).toContain("meshpass_by_name='false'");
  });

  it('starts nothing in a prebuild', async () => {
    const start = await asUser(root, 'env', 'ACTIONS_ID_TOKEN_REQUEST_URL=https://x', feature.postStartCommand);
    expect(start).toMatchObject({ code: 0, stdout: expect.stringContaining('this is a prebuild') });
    expect(existsSync(join(root, REMOTE_USER.home, '.meshpass'))).toBe(false);
  });

  it('does not stop later commands if the agent cannot start', async () => {
    const start = await asUser(root, feature.postStartCommand);
    expect(start).toMatchObject({ code: 0, stderr: expect.stringContaining('[agent_no_identity]') });
  });
});

describe('the installer refuses', () => {
  let root: string;
  beforeAll(async () => {
    root = await newRoot('bookworm', 'refusing');
    // Nothing below may reach a package manager.
    writeFileSync(join(root, 'usr/bin/curl'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
  });

  const expectRefused = async (says: string, more: Record<string, string> = {}) => {
    const refused = await installFeature(root, feature.folder, options(more));
    expect(refused.stderr).toContain(says);
    expect(refused.code).toBe(1);
    expect(existsSync(join(root, FOLDER))).toBe(false);
    expect(existsSync(join(root, `${FOLDER}.new`))).toBe(false);
    expect(existsSync(join(root, 'usr/local/bin/meshpass'))).toBe(false);
  };
  const withGetconf = async (script: string, test: () => Promise<void>) => {
    const getconf = join(root, 'usr/bin/getconf');
    const before = readFileSync(getconf);
    writeFileSync(getconf, `#!/bin/sh\n${script}\n`);
    await test().finally(() => writeFileSync(getconf, before));
  };

  it.each([
    ['http://broker.example.com', 'must begin with https://'],
    ["https://x'; touch /tmp/owned; '", 'must be a URL'],
    ['https://x\ntouch /tmp/owned', 'must be a URL'],
  ])('the broker %j', async (broker, says) => {
    await expectRefused(says, { BROKER: broker });
    expect(existsSync(join(root, 'tmp/owned'))).toBe(false);
  });

  it('a release that it has no digest of', () =>
    expectRefused('"ghcr.io/meshpass/features/meshpass:9.9.9"', { VERSION: '9.9.9' }));

  it('a remote user whose name the shell would read', () => expectRefused('remote user', { _REMOTE_USER: "x'y" }));

  it('musl, and names the alternative', async () => {
    const musl = join(root, 'lib/ld-musl-x86_64.so.1');
    writeFileSync(musl, '');
    await withGetconf('echo "getconf: GNU_LIBC_VERSION: unknown variable" >&2; exit 1', () =>
      expectRefused('This image uses musl'),
    );
    rmSync(musl);
  });

  it('a glibc that is older than its programs ask for', () =>
    withGetconf('echo glibc 2.28', () =>
      expectRefused(`has glibc 2.28. Use an image with glibc ${feature.glibc} or later`),
    ));

  it('a download that fails', () => expectRefused('Cannot download'));

  it('an archive with another SHA-256: nothing is installed', async () => {
    const served = await newRoot('bookworm', 'served');
    writeFileSync(
      join(served, 'usr/bin/curl'),
      '#!/bin/sh\nwhile [ "$1" != --output ]; do shift; done\necho other >"$2"\n',
      {
        mode: 0o755,
      },
    );
    const ldconfig = join(served, 'usr/sbin/ldconfig');
    writeFileSync(ldconfig, '#!/bin/sh\necho libatomic.so.1 x libgcc_s.so.1 x libstdc++.so.6 x\n', { mode: 0o755 });
    const refused = await installFeature(served, feature.folder, options());
    expect(refused).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/has the SHA-256 .* is pinned. Nothing was installed/),
    });
    expect(existsSync(join(served, FOLDER))).toBe(false);
  });

  it('a command of that name that is not its own', async () => {
    const command = join(root, 'usr/local/bin/meshpass');
    writeFileSync(command, 'mine');
    const refused = await installFeature(root, feature.folder, options());
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('does not belong to this Feature') });
    expect(statSync(command).size).toBe(4);
    rmSync(command);
  });
});
