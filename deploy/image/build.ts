/**
 * `npm run build:image [-- --arch arm64] [--arch x64] [--fresh]`: the container image of broker and edge, without a daemon, as
 * `dist/image/meshpass-linux-ARCH.oci.tar`, with its SBOM beside it. With several processors also `meshpass-linux.oci.tar`, the one
 * image for all of them, which a release pushes. README.md lists its content.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { packagesOfExecutable } from '../executable/bundled.ts';
import { keepBuild } from '../executable/kept.ts';
import { CERTIFICATES, DATA, EXECUTABLE, USER, writeBase, writeProgram } from './contents.ts';
import { debianPackages } from './debian-packages.ts';
import { archive, writeLayer } from './layer.ts';
import { blobsOf, type Descriptor, nameLayout, type OciArchitecture, writeImage, writeIndex } from './oci.ts';
import { sbomOf } from './sbom.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const OUTPUT = join(ROOT, 'dist/image');
const REPOSITORY = 'ghcr.io/meshpass/meshpass';
/** Names of processors as in Node.js, as everywhere in this repository. */
const ARCHITECTURES: Readonly<Record<string, OciArchitecture>> = { x64: 'amd64', arm64: 'arm64' };

const { version } = JSON.parse(readFileSync(join(ROOT, 'packages/cli/package.json'), 'utf8')) as { version: string };
const { values } = parseArgs({
  options: {
    arch: { type: 'string', multiple: true, default: [process.arch] },
    fresh: { type: 'boolean', default: false },
  },
});
const created = new Date(
  Number(process.env.SOURCE_DATE_EPOCH ?? git('log', '-1', '--format=%ct')) * 1000,
).toISOString();
const labels = {
  'org.opencontainers.image.title': 'Meshpass',
  'org.opencontainers.image.description':
    'Broker and edge of Meshpass: GitHub Codespaces as workloads of an Istio mesh',
  'org.opencontainers.image.source': 'https://github.com/meshpass/meshpass',
  'org.opencontainers.image.licenses': 'Apache-2.0',
  'org.opencontainers.image.version': version,
  'org.opencontainers.image.revision': git('rev-parse', 'HEAD'),
  'org.opencontainers.image.created': created,
};
const names = [
  ...values.arch.flatMap((arch) => [`meshpass-linux-${arch}.oci.tar`, `meshpass-linux-${arch}.cdx.json`]),
  ...(values.arch.length > 1 ? ['meshpass-linux.oci.tar'] : []),
];
// Also if the image is kept: callers that request one find the same program in dist.
for (const arch of values.arch) {
  const flags = ['--arch', arch, ...(values.fresh ? ['--fresh'] : [])];
  execFileSync(process.execPath, [join(ROOT, 'deploy/executable/build.ts'), ...flags], { stdio: 'inherit' });
}
const isNew = await keepBuild(
  {
    name: `image-${values.arch.join('-')}`,
    sources: ['deploy/image/**'],
    settings: [...Object.values(labels), ...values.arch],
    outputs: names.map((name) => join(OUTPUT, name)),
  },
  values.fresh,
  buildAll,
);
if (!isNew) console.log(`Kept from the same sources: ${names.join(', ')} in ${OUTPUT.slice(ROOT.length)}`);

async function buildAll(): Promise<void> {
  const npm = await packagesOfExecutable();
  const work = mkdtempSync(join(tmpdir(), 'meshpass-image-'));
  try {
    mkdirSync(OUTPUT, { recursive: true });
    const together = join(work, 'together');
    const images = values.arch.map((arch) => build(arch, work, npm));
    if (images.length > 1) {
      nameLayout(together, writeIndex(together, images, labels), `${REPOSITORY}:${version}`);
      archive(together, join(OUTPUT, 'meshpass-linux.oci.tar'));
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** @param work folder, whose layout `together` gets the image too */
function build(arch: string, work: string, npm: Awaited<ReturnType<typeof packagesOfExecutable>>): Descriptor {
  const architecture = ARCHITECTURES[arch];
  if (!architecture) throw new Error(`There is no image for --arch ${arch}: ${Object.keys(ARCHITECTURES).join(', ')}`);
  const folder = (name: string) => join(work, arch, name);
  for (const name of ['base', 'program', 'packages', 'layout']) mkdirSync(folder(name), { recursive: true });
  const debian = debianPackages(architecture, folder('packages'));
  const files = new Map([
    ...writeBase(folder('base'), debian, architecture),
    ...writeProgram(folder('program'), join(ROOT, `dist/meshpass-linux-${arch}/meshpass`), npm),
  ]);
  const blobs = blobsOf(folder('layout'));
  const base = writeLayer(folder('base'), blobs, folder('.'));
  const program = writeLayer(folder('program'), blobs, folder('.'), { uid: USER, folder: DATA });
  const layers = [
    { layer: base, createdBy: 'deploy/image: files of Debian packages' },
    { layer: program, createdBy: 'deploy/image: meshpass' },
  ];
  const image = writeImage(folder('layout'), architecture, layers, {
    user: `${USER}:${USER}`,
    entrypoint: [`/${EXECUTABLE}`],
    // Node.js adds the file to the authorities that it comes with.
    env: ['PATH=/usr/local/bin', 'NODE_USE_SYSTEM_CA=1', `SSL_CERT_FILE=/${CERTIFICATES}`],
    workingDir: '/',
    labels,
    created,
  });
  cpSync(folder('layout'), join(work, 'together'), { recursive: true });
  nameLayout(folder('layout'), image, `${REPOSITORY}:${version}`);
  const output = join(OUTPUT, `meshpass-linux-${arch}`);
  archive(folder('layout'), `${output}.oci.tar`);
  const sbom = sbomOf({ repository: REPOSITORY, version, architecture, image, created, debian, npm, files });
  writeFileSync(`${output}.cdx.json`, `${JSON.stringify(sbom, null, 2)}\n`);
  const compressed = megabytes(base.size + program.size);
  const uncompressed = megabytes(base.uncompressedSize + program.uncompressedSize);
  console.log(
    `Built ${output.slice(ROOT.length)}.oci.tar: ${image.digest}, ${compressed} compressed, ${uncompressed} uncompressed`,
  );
  return image;
}

function git(...argv: readonly string[]): string {
  return execFileSync('git', argv, { cwd: ROOT, encoding: 'utf8' }).trim();
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
