/** Manifests from files, directories and standard input, bounded in size: what is larger is read only far enough to be refused. */
import { closeSync, existsSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { MeshpassError } from '@meshpass/identity/error';
import { MAX_BYTES } from '@meshpass/policy/istio/load';

export interface ManifestFile {
  readonly name: string;
  readonly text: Uint8Array;
}

export interface ManifestFiles {
  readonly files: readonly ManifestFile[];
  /** Found in a directory, and not read as manifests. */
  readonly leftOut: readonly { readonly path: string; readonly why: string }[];
}

const MOST_FILES = 50_000;
const MANIFEST = /\.(?:ya?ml|json)$/;
const HIDDEN = /^(?:\.|node_modules$)/;
/** Of tools that have `apiVersion` too, and are not for the API server. */
const TOOLS = /^(?:kustomization\.ya?ml|Chart\.ya?ml|values.*\.ya?ml|package(?:-lock)?\.json|tsconfig.*\.json)$/;
const OBJECT = /["']?apiVersion["']?[ \t]*:/;

/** @throws MeshpassError `usage` where something cannot be read */
export async function readManifestFiles(paths: readonly string[]): Promise<ManifestFiles> {
  const files: ManifestFile[] = [];
  const leftOut: { path: string; why: string }[] = [];
  for (const path of paths) {
    if (path === '-') files.push({ name: 'stdin', text: await readStandardInput() });
    else if (attempt(path, () => statSync(path)).isDirectory()) {
      for (const file of walk(path, leftOut)) {
        const text = read(file);
        if (OBJECT.test(Buffer.from(text.buffer, text.byteOffset, text.byteLength).toString('latin1')))
          files.push({ name: file, text });
        else leftOut.push({ path: file, why: 'it holds no Kubernetes objects' });
        if (files.length > MOST_FILES) throw new MeshpassError('usage', `${path} holds more than ${MOST_FILES} files.`);
      }
    } else files.push({ name: path, text: read(path) });
  }
  return { files, leftOut };
}

/** Links to directories are not followed: they may lead back. */
function* walk(directory: string, leftOut: { path: string; why: string }[]): Generator<string> {
  const isChart = existsSync(join(directory, 'Chart.yaml'));
  const entries = attempt(directory, () => readdirSync(directory, { withFileTypes: true }));
  for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) {
      if (isChart && entry.name === 'templates')
        leftOut.push({
          path,
          why: 'templates of Helm are read once rendered: helm template ... | meshpass policy lint -',
        });
      else if (!HIDDEN.test(entry.name)) yield* walk(path, leftOut);
    } else if (MANIFEST.test(entry.name) && (entry.isFile() || entry.isSymbolicLink()) && !TOOLS.test(basename(path))) {
      yield path;
    }
  }
}

function read(path: string): Uint8Array {
  const file = attempt(path, () => openSync(path, 'r'));
  try {
    const room = Buffer.alloc(Math.min(statSync(path).size, MAX_BYTES) + 1);
    let size = 0;
    for (let got = -1; got !== 0 && size < room.length; size += got) {
      got = attempt(path, () => readSync(file, room, size, room.length - size, null));
    }
    return room.subarray(0, size);
  } finally {
    closeSync(file);
  }
}

async function readStandardInput(): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > MAX_BYTES) break;
  }
  return Buffer.concat(chunks);
}

function attempt<T>(path: string, how: () => T): T {
  try {
    return how();
  } catch (cause) {
    throw new MeshpassError('usage', `${path} cannot be read.`, { cause });
  }
}
