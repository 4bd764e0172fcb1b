/** Commands of the system. Missing ones are installed from Debian's packages. */
import { accessSync, constants, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { LabError } from '../error.ts';
import { must, run } from '../run.ts';

const PACKAGE_OF: Readonly<Record<string, string>> = {
  ip: 'iproute2',
  iptables: 'iptables',
  curl: 'curl',
  setpriv: 'util-linux',
  psql: 'postgresql-client',
  go: 'golang-go',
  python3: 'python3',
};
/** Commands of a cluster's node besides the lab's. */
const NODE_PACKAGE_OF: Readonly<Record<string, string>> = {
  containerd: 'containerd',
  runc: 'runc',
  ipset: 'ipset',
  nsenter: 'util-linux',
};
/** Debian's folder of CNI plugins. Other distributions have other folders, so this is the only place to check for one of them. */
export const CNI_PLUGINS = '/usr/lib/cni';
/** They are prerequisites: a distribution's own Go may be too old, so they are named rather than installed. */
const PREREQUISITES = ['go', 'python3'];
const BROWSER = 'chromium-headless-shell';
const APT_LOCK = '/run/lock/meshpass-lab-apt';
const POSTGRES_HOMES = '/usr/lib/postgresql';

/** @returns the directory that holds `initdb` and `postgres` */
export async function ensureCommands(progress: (line: string) => void): Promise<string> {
  const absent = Object.keys(PACKAGE_OF).filter((command) => !onPath(command));
  const needed = absent.filter((command) => PREREQUISITES.includes(command));
  if (needed.length > 0)
    throw new LabError('lab_unsupported', `The lab builds on Go and Python 3; missing: ${needed.join(', ')}.`);
  const packages = new Set(absent.map((command) => PACKAGE_OF[command] ?? command));
  if (!postgresBin()) packages.add('postgresql');
  if (packages.size > 0) await install([...packages], progress);
  const found = postgresBin();
  if (!found) throw new LabError('lab_install', `No PostgreSQL server under ${POSTGRES_HOMES} after its installation.`);
  return found;
}

/** Container runtime and CNI plugins of a cluster's node. */
export async function ensureNodeCommands(progress: (line: string) => void): Promise<void> {
  const absent = Object.keys(NODE_PACKAGE_OF).filter((command) => !onPath(command));
  const packages = new Set(absent.map((command) => NODE_PACKAGE_OF[command] ?? command));
  if (!executable(join(CNI_PLUGINS, 'ptp'))) packages.add('containernetworking-plugins');
  if (packages.size > 0) await install([...packages], progress);
}

/** Chromium without a window, for the tests of the broker's page. Where the distribution has no such package, these are skipped. */
export async function ensureBrowser(progress: (line: string) => void): Promise<void> {
  if (onPath(BROWSER)) return;
  try {
    await install([BROWSER], progress);
  } catch (thrown) {
    if (!(thrown instanceof LabError)) throw thrown;
    progress(`there is no package ${BROWSER} here: tests in a browser are skipped`);
  }
}

/** Debian has Python without its installer. */
export async function ensurePip(progress: (line: string) => void): Promise<void> {
  const { code } = await run(['python3', '-m', 'pip', '--version']);
  if (code !== 0) await install(['python3-pip'], progress);
}

/**
 * An emulator for programs of Linux on arm64, on a machine with another processor.
 * @returns the command line to put before the program's
 */
export async function ensureArm64(progress: (line: string) => void): Promise<readonly string[]> {
  if (process.arch === 'arm64') return [];
  const [emulator, libraries] = ['/usr/bin/qemu-aarch64-static', '/usr/aarch64-linux-gnu'];
  if (!executable(emulator) || !existsSync(join(libraries, 'lib/libatomic.so.1')))
    await install(
      ['qemu-user-static', 'libc6-arm64-cross', 'libstdc++6-arm64-cross', 'libatomic1-arm64-cross'],
      progress,
    );
  return [emulator, '-L', libraries];
}

/** Programs that read and run a container image without a daemon: skopeo, umoci and runc. */
export async function ensureContainerTools(progress: (line: string) => void): Promise<void> {
  const absent = ['runc', 'skopeo', 'umoci'].filter((command) => !onPath(command));
  if (absent.length > 0) await install(absent, progress);
}

/** A command whose package has its name. */
export async function ensureCommand(
  command: 'debootstrap' | 'fish' | 'shellcheck' | 'zsh',
  progress: (line: string) => void = () => {},
): Promise<void> {
  if (!onPath(command)) await install([command], progress);
}

async function install(packages: readonly string[], progress: (line: string) => void): Promise<void> {
  if (!onPath('apt-get')) {
    throw new LabError(
      'lab_unsupported',
      `Please install: ${packages.join(', ')} (the lab does it itself only on Debian and Ubuntu).`,
    );
  }
  progress(`installing Debian packages: ${packages.join(' ')}`);
  // Debian's postgresql package would otherwise create and start a database of its own.
  const clusterConfig = '/etc/postgresql-common/createcluster.conf';
  if (packages.includes('postgresql') && !existsSync(clusterConfig)) {
    mkdirSync('/etc/postgresql-common', { recursive: true });
    writeFileSync(clusterConfig, 'create_main_cluster = false\n');
  }
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  // Two tests may both lack something: one apt-get at a time, or the second fails for the lock of the first.
  const apt = ['flock', APT_LOCK, 'apt-get', '-q', '-o', 'DPkg::Lock::Timeout=300', '-o', 'Acquire::Retries=3'];
  await must([...apt, 'update'], 'lab_install', { env });
  await must([...apt, 'install', '-y', '--no-install-recommends', ...packages], 'lab_install', { env });
}

function onPath(command: string): boolean {
  const path = `${process.env.PATH ?? ''}${delimiter}/usr/sbin${delimiter}/sbin`;
  return path.split(delimiter).some((folder) => executable(join(folder, command)));
}

/** The newest PostgreSQL of the system. */
function postgresBin(): string | undefined {
  if (!existsSync(POSTGRES_HOMES)) return undefined;
  const versions = readdirSync(POSTGRES_HOMES).sort((a, b) => Number(b) - Number(a));
  return versions
    .map((version) => join(POSTGRES_HOMES, version, 'bin'))
    .find((bin) => executable(join(bin, 'postgres')) && executable(join(bin, 'initdb')));
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
