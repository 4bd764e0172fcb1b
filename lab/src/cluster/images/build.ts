/** The images of a cluster, built from the lab's tools and this machine's programs, and kept by what goes into them. */
import { createHash } from 'node:crypto';
import { chmodSync, cpSync, globSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';
import { fillOnce } from '../../install/once.ts';
import { type ClusterTools, cacheFolder } from '../../install/tools.ts';
import { type Image, packImages, packLayer } from './archive.ts';
import { commandPath, layBase, layCommand, layFolder, layLibraries, layProgram, link } from './root.ts';

const HUB = 'lab.test';
export const TAG = '1';
export const PAUSE_IMAGE = `${HUB}/pause:${TAG}`;
const ARCHIVE = 'images.tar';

const SOURCES = fileURLToPath(new URL('../../', import.meta.url));
const START_POSTGRES = fileURLToPath(new URL('start-postgres.sh', import.meta.url));
const APPS: Readonly<Record<string, string>> = {
  orders: 'apps/orders.ts',
  web: 'apps/web.ts',
  echo: 'apps/echo/main.ts',
};
/** Tools for a person who debugs a container. */
const SHELL = ['sh', 'cat', 'ls', 'env', 'sleep', 'rm', 'mkdir', 'dirname', 'basename', 'id'];

const IMAGES: readonly Image[] = [
  { name: PAUSE_IMAGE, layers: ['shell'], entrypoint: ['/usr/bin/sleep', 'infinity'], user: '65534' },
  { name: `${HUB}/pilot:${TAG}`, layers: ['istio'], entrypoint: ['/usr/local/bin/pilot-discovery'], user: '1337' },
  { name: `${HUB}/proxyv2:${TAG}`, layers: ['istio'], entrypoint: ['/usr/local/bin/pilot-agent'], user: '1337' },
  { name: `${HUB}/coredns:${TAG}`, layers: ['coredns'], entrypoint: ['/usr/local/bin/coredns'] },
  { name: `${HUB}/apps:${TAG}`, layers: ['shell', 'node', 'apps'], entrypoint: ['/usr/local/bin/node'], user: '65534' },
  {
    name: `${HUB}/postgres:${TAG}`,
    layers: ['shell', 'postgres'],
    entrypoint: ['/usr/local/bin/start-postgres'],
    user: '65534',
  },
];

/**
 * @param node binary that runs the sample services
 * @returns path of the archive with all images
 * @throws LabError `lab_install` when a program is missing
 */
export async function buildImages(
  tools: ClusterTools,
  node: string,
  progress: (line: string) => void,
): Promise<{ readonly archive: string; readonly names: readonly string[] }> {
  const home = join(cacheFolder(), `cluster-images-${keyOf(tools, node)}`);
  const fill = async (work: string): Promise<string> => {
    progress('building images for the cluster (once, about 20 s)');
    await layRoots(join(work, 'roots'), tools, node);
    for (const layer of new Set(IMAGES.flatMap(({ layers }) => layers))) await packLayer(work, layer);
    await rm(join(work, 'roots'), { recursive: true });
    await packImages(work, IMAGES, ARCHIVE);
    for (const layer of globSync('*.tar', { cwd: work })) if (layer !== ARCHIVE) await rm(join(work, layer));
    return work;
  };
  await fillOnce(home, fill, progress);
  return { archive: join(home, ARCHIVE), names: IMAGES.map(({ name }) => name) };
}

async function layRoots(roots: string, tools: ClusterTools, node: string): Promise<void> {
  const root = (name: string): string => {
    const path = join(roots, name);
    mkdirSync(path, { recursive: true });
    return path;
  };
  const shell = root('shell');
  layBase(shell);
  for (const command of [...SHELL, 'curl']) await layCommand(shell, command);
  link(shell, '/usr/bin/sh', '/bin/sh');

  await layProgram(root('node'), node, '/usr/local/bin/node');
  await bundleApps(join(root('apps'), 'app'));

  const istio = root('istio');
  layBase(istio);
  await layProgram(istio, tools.istiod, '/usr/local/bin/pilot-discovery');
  await layProgram(istio, tools.pilotAgent, '/usr/local/bin/pilot-agent');
  await layProgram(istio, tools.envoy, '/usr/local/bin/envoy');
  mkdirSync(join(istio, 'var/lib/istio/envoy'), { recursive: true });
  mkdirSync(join(istio, 'etc/istio/proxy'), { recursive: true });
  chmodSync(join(istio, 'etc/istio/proxy'), 0o1777);
  cpSync(tools.envoyBootstrap, join(istio, 'var/lib/istio/envoy/envoy_bootstrap_tmpl.json'));
  await layIptables(istio);

  const coredns = root('coredns');
  layBase(coredns);
  await layProgram(coredns, tools.cluster.coredns, '/usr/local/bin/coredns');

  await layPostgres(root('postgres'), tools.postgresBin);
}

/** pilot-agent calls them by these names. Their matches and targets are shared objects in a folder of their own. */
async function layIptables(root: string): Promise<void> {
  const binary = commandPath('iptables');
  await layProgram(root, binary, `/usr/sbin/${binary.split('/').at(-1)}`);
  for (const name of [
    'iptables',
    'iptables-save',
    'iptables-restore',
    'ip6tables',
    'ip6tables-save',
    'ip6tables-restore',
  ])
    link(root, binary, `/usr/sbin/${name}`);
  const plugins = globSync('/usr/lib/*/xtables/*.so').filter((file) => /\/lib(xt|ipt|ip6t)_/.test(file));
  await layLibraries(root, plugins);
}

async function layPostgres(root: string, bin: string): Promise<void> {
  for (const program of ['postgres', 'initdb']) await layProgram(root, join(bin, program));
  for (const client of ['psql', 'pg_dump', 'pg_restore'])
    await layProgram(root, join(bin, client), `/usr/bin/${client}`);
  const home = dirname(bin);
  await layLibraries(
    root,
    ['plpgsql', 'dict_snowball', 'pgcrypto'].map((name) => join(home, 'lib', `${name}.so`)).filter(exists),
  );
  layFolder(root, home.replace('/usr/lib/', '/usr/share/'));
  link(root, bin, '/usr/local/pgsql');
  cpSync(START_POSTGRES, join(root, 'usr/local/bin/start-postgres'));
  chmodSync(join(root, 'usr/local/bin/start-postgres'), 0o755);
}

/** Each a file of its own: nothing is installed in the image. */
async function bundleApps(folder: string): Promise<void> {
  for (const [name, source] of Object.entries(APPS)) {
    const build = await rolldown({ input: join(SOURCES, source), platform: 'node', logLevel: 'silent' });
    await build.write({ file: join(folder, `${name}.mjs`), format: 'esm', codeSplitting: false });
    await build.close();
  }
}

/**
 * The folders of the tools have digests in their names, and Node.js has a version. System programs are identified by size and time,
 * which a new version of their package changes.
 */
function keyOf(tools: ClusterTools, node: string): string {
  const digest = createHash('sha256').update(`${process.arch} ${process.version} ${JSON.stringify(IMAGES)}`);
  for (const path of [tools.istiod, tools.envoy, tools.cluster.coredns]) digest.update(path);
  digest.update(String(statSync(node).size));
  // `ldd` comes with the C library.
  const system = [...['iptables', 'curl', 'sh', 'cat', 'ldd'].map(commandPath), join(tools.postgresBin, 'postgres')];
  for (const path of [...system, '/etc/os-release']) {
    const { size, mtimeMs } = statSync(path);
    digest.update(`${path} ${size} ${mtimeMs}\n`);
  }
  const here = fileURLToPath(new URL('.', import.meta.url));
  const sources = [...globSync(join(SOURCES, 'apps/**/*.ts')), ...globSync(join(here, '*'))].sort();
  for (const file of sources) digest.update(readFileSync(file));
  return digest.digest('hex').slice(0, 16);
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}
