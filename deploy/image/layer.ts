/**
 * Layers of an image: a folder as a tar archive, by GNU tar and gzip. The same files give the same bytes on every machine at any
 * time: names are sorted, times and owners fixed. Node.js's own gzip is not used, because its output depends on the processor.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, copyFileSync, mkdirSync, openSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

export interface Blob {
  /** `sha256:...` */
  readonly digest: string;
  /** In bytes. */
  readonly size: number;
}

export interface Layer extends Blob {
  /** Digest of the tar archive before it was compressed. */
  readonly diffId: string;
  readonly uncompressedSize: number;
}

/** Files that belong to the user that the image runs as. */
export interface Owned {
  readonly uid: number;
  /** Below the root, without a leading slash. */
  readonly folder: string;
}

const STABLE = ['--format=ustar', '--sort=name', '--mtime=@0', '--numeric-owner', '--no-acls', '--no-xattrs'];
const ROOT_ONLY = ['--owner=0', '--group=0', '--mode=u=rwX,go=rX'];

/**
 * @param root folder with the layer's content; everything belongs to root and is read-only for others
 * @param blobs folder of an OCI layout that gets the layer, by its digest
 * @param work folder for intermediate files
 * @param owned an empty folder that is not root's
 */
export function writeLayer(root: string, blobs: string, work: string, owned?: Owned): Layer {
  const tar = join(work, 'layer.tar');
  const top = readdirSync(root).sort();
  const exclude = owned ? [`--exclude=${owned.folder}`] : [];
  execFileSync('tar', ['--create', '--file', tar, '--directory', root, ...STABLE, ...ROOT_ONLY, ...exclude, ...top]);
  if (owned) {
    const owner = [`--owner=${owned.uid}`, `--group=${owned.uid}`, '--mode=0700'];
    execFileSync('tar', ['--append', '--file', tar, '--directory', root, ...STABLE, ...owner, owned.folder]);
  }
  const compressed = join(work, 'layer.tar.gz');
  const out = openSync(compressed, 'w');
  try {
    execFileSync('gzip', ['--no-name', '--stdout', tar], { stdio: ['ignore', out, 'inherit'] });
  } finally {
    closeSync(out);
  }
  return {
    ...storeBlob(readFileSync(compressed), blobs, compressed),
    diffId: digestOf(readFileSync(tar)),
    uncompressedSize: statSync(tar).size,
  };
}

/** @param file that has these bytes already */
function storeBlob(bytes: Buffer, blobs: string, file: string): Blob {
  const digest = digestOf(bytes);
  mkdirSync(blobs, { recursive: true });
  copyFileSync(file, join(blobs, digest.slice('sha256:'.length)));
  return { digest, size: bytes.length };
}

/** Archives a folder, reproducibly. */
export function archive(folder: string, file: string): void {
  execFileSync('tar', [
    '--create',
    '--file',
    file,
    '--directory',
    folder,
    ...STABLE,
    ...ROOT_ONLY,
    ...readdirSync(folder).sort(),
  ]);
}

export function digestOf(bytes: Buffer | string): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
