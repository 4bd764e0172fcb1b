/**
 * `npm run build:trial-image [-- --arch arm64]`: the image of a trial (docs/install/trial.md), NOT FOR PRODUCTION. It is the image of broker and
 * edge, with one more layer: Envoy, Node.js and the stand-ins for GitHub and a Codespace. Writes
 * `dist/image/meshpass-insecure-trial-linux-ARCH.oci.tar`, which carries the name `ghcr.io/meshpass/meshpass-insecure-trial:VERSION`.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { rolldown } from 'rolldown';
import { keepBuild } from '../executable/kept.ts';
import { nodeFor } from '../executable/node-binary.ts';
import { debianPackages } from '../image/debian-packages.ts';
import { archive, type Layer, writeLayer } from '../image/layer.ts';
import { blobsOf, type Descriptor, nameLayout, type OciArchitecture, writeJson } from '../image/oci.ts';

interface Index {
  readonly manifests: readonly (Descriptor & { readonly annotations: Readonly<Record<string, string>> })[];
}
interface Manifest {
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}
interface Config {
  readonly created: string;
  readonly architecture: OciArchitecture;
  readonly rootfs: { readonly type: 'layers'; readonly diff_ids: readonly string[] };
  readonly history: readonly object[];
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const REPOSITORY = 'ghcr.io/meshpass/meshpass-insecure-trial';
const PROGRAM = 'usr/local/bin/meshpass-insecure-trial';
const LIBRARIES: Readonly<Record<OciArchitecture, string>> = {
  amd64: 'usr/lib/x86_64-linux-gnu',
  arm64: 'usr/lib/aarch64-linux-gnu',
};
const { arch } = parseArgs({ options: { arch: { type: 'string', default: process.arch } } }).values;
const production = join(ROOT, `dist/image/meshpass-linux-${arch}.oci.tar`);
const output = join(ROOT, `dist/image/meshpass-insecure-trial-linux-${arch}.oci.tar`);
execFileSync(process.execPath, [join(ROOT, 'deploy/image/build.ts'), '--arch', arch], { stdio: 'inherit' });
const sources = ['deploy/{image,trial-image}/**', 'lab/src/{github,stand-in,trial}/**', 'lab/src/kubernetes.ts'];
// Names the production image by its digest.
const settings = [execFileSync('tar', ['xOf', production, 'index.json'], { encoding: 'utf8' })];
const isNew = await keepBuild({ name: `trial-image-${arch}`, sources, settings, outputs: [output] }, false, build);
console.log(`${isNew ? 'Built' : 'Kept from the same sources'}: ${output.slice(ROOT.length)}. Not for production.`);

async function build(): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), 'meshpass-trial-image-'));
  try {
    const folder = (name: string) => {
      const path = join(work, name);
      mkdirSync(path, { recursive: true });
      return path;
    };
    const layout = folder('layout');
    execFileSync('tar', ['xf', production, '-C', layout]);
    const read = <T>({ digest }: Pick<Descriptor, 'digest'>) =>
      JSON.parse(readFileSync(join(blobsOf(layout), digest.slice('sha256:'.length)), 'utf8')) as T;
    const [image] = (JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')) as Index).manifests;
    const manifest = read<Manifest>(image!);
    const config = read<Config>(manifest.config);
    await writeTrial(folder('root'), config.architecture, folder);
    const layer = writeLayer(folder('root'), blobsOf(layout), work);
    const trial = extended(layout, manifest, config, layer);
    const version = image!.annotations['org.opencontainers.image.ref.name'];
    nameLayout(layout, { ...image!, ...trial }, `${REPOSITORY}:${version}`);
    archive(layout, output);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Adds a layer to an image. */
function extended(layout: string, manifest: Manifest, config: Config, layer: Layer): Descriptor {
  const { created, rootfs, history } = config;
  const { digest, size } = layer;
  const written = writeJson(layout, manifest.config.mediaType, {
    ...config,
    rootfs: { ...rootfs, diff_ids: [...rootfs.diff_ids, layer.diffId] },
    history: [...history, { created, created_by: 'deploy/trial-image: stand-ins, not for production' }],
  });
  return writeJson(layout, 'application/vnd.oci.image.manifest.v1+json', {
    ...manifest,
    config: written,
    layers: [...manifest.layers, { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest, size }],
  });
}

async function writeTrial(
  root: string,
  architecture: OciArchitecture,
  folder: (name: string) => string,
): Promise<void> {
  const put = (from: string, to: string) => {
    mkdirSync(join(root, dirname(to)), { recursive: true });
    copyFileSync(from, join(root, to));
  };
  put(join(ROOT, `dist/meshpass-linux-${arch}/envoy`), 'usr/local/bin/envoy');
  put(nodeFor(arch, folder('node')), 'usr/local/bin/node');
  // Envoy links it, although the C library contains all of it now.
  const library = `${LIBRARIES[architecture]}/librt.so.1`;
  const libc = debianPackages(architecture, folder('packages')).find(({ name }) => name === 'libc6')!;
  put(join(libc.files, library), library);
  // The agent starts Envoy by a shell, which ends it with the agent.
  const [shell] = debianPackages(architecture, folder('shell'), new URL('debian.sha256', import.meta.url));
  put(join(shell!.files, 'usr/bin/dash'), 'usr/bin/sh');
  const bundle = await rolldown({
    input: join(ROOT, 'lab/src/trial/main.ts'),
    cwd: ROOT,
    platform: 'node',
    logLevel: 'silent',
  });
  await bundle.write({ file: join(root, PROGRAM), format: 'cjs', codeSplitting: false });
  await bundle.close();
  symlinkSync('usr/bin', join(root, 'bin'));
  for (const program of ['bin/sh', 'local/bin/envoy', 'local/bin/node', 'local/bin/meshpass-insecure-trial'])
    chmodSync(join(root, 'usr', program), 0o755);
}
