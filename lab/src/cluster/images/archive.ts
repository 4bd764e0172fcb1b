/**
 * Images as an archive of files that `ctr images import` takes (the form of `docker save`): layers, a configuration for each
 * image, and a manifest that names them. No registry takes part.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { must } from '../../run.ts';

export interface Image {
  /** Name with its tag, for example `lab.test/apps:1`. */
  readonly name: string;
  /** Names of layers, the lowest first. */
  readonly layers: readonly string[];
  readonly entrypoint: readonly string[];
  readonly user?: string;
}

/** Names of processors in Go. */
const ARCHITECTURE: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };
const PATH = 'PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * Packs a layer: the same files give the same bytes.
 * @param work folder with the root file system in `roots/NAME`; gets `NAME.tar`
 */
export async function packLayer(work: string, name: string): Promise<void> {
  const sameBytes = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '--format=gnu'];
  const root = join(work, 'roots', name);
  await must(['tar', ...sameBytes, '-C', root, '-cf', join(work, `${name}.tar`), '.'], 'lab_install');
}

/** @param work folder with the layers' `NAME.tar`; gets `archive` */
export async function packImages(work: string, images: readonly Image[], archive: string): Promise<void> {
  const layers = [...new Set(images.flatMap((image) => image.layers))];
  const digests = new Map(
    await Promise.all(layers.map(async (layer) => [layer, await digestOf(join(work, `${layer}.tar`))] as const)),
  );
  const manifest = [];
  for (const [at, image] of images.entries()) {
    const config = {
      architecture: ARCHITECTURE[process.arch],
      os: 'linux',
      config: { Entrypoint: image.entrypoint, Env: [PATH], WorkingDir: '/', User: image.user ?? '0' },
      rootfs: { type: 'layers', diff_ids: image.layers.map((layer) => `sha256:${digests.get(layer)}`) },
    };
    const file = `${at}.json`;
    await writeFile(join(work, file), JSON.stringify(config));
    manifest.push({ Config: file, RepoTags: [image.name], Layers: image.layers.map((layer) => `${layer}.tar`) });
  }
  await writeFile(join(work, 'manifest.json'), JSON.stringify(manifest));
  const files = ['manifest.json', ...manifest.map(({ Config }) => Config), ...layers.map((layer) => `${layer}.tar`)];
  await must(['tar', '-C', work, '-cf', join(work, 'packing.tar'), ...files], 'lab_install');
  await rename(join(work, 'packing.tar'), join(work, archive));
}

/** SHA-256 of a file, in hexadecimal digits. */
export async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file, { highWaterMark: 1024 * 1024 }), hash);
  return hash.digest('hex');
}
