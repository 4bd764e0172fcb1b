/**
 * Reads manifests from files, directories and standard input. If a file exceeds the size limit, only as much of it is
 * read as is needed to reject it.
 */
import { closeSync, existsSync, fstatSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { MeshpassError } from '@meshpass/identity';
import { holdsObjects, MAX_BYTES } from '@meshpass/istio';
import { unreadableFileError } from './files.ts';

export interface ManifestFile {
  readonly name: string;
  readonly text: Uint8Array;
  /** Whether the file was found in a directory, rather than specified on the command line. */
  readonly isFound: boolean;
}

export interface LeftOut {
  readonly path: string;
  readonly why: string;
  /** Whether the file or directory may contain objects that `kubectl apply` would accept. */
  readonly mayHold: boolean;
}

export interface ManifestFiles {
  readonly files: readonly ManifestFile[];
  /** The files and directories that were found but not read as manifests. */
  readonly leftOut: readonly LeftOut[];
}

const MOST_FILES = 50_000;
const MANIFEST = /\.(?:ya?ml|json)$/;
const ACTION = '{{';

/**
 * Reads the given files. In a directory, it reads every `.yaml`, `.yml` and `.json` file that contains Kubernetes
 * objects. Subdirectories are included, even if they are hidden, as with `kubectl apply -R`.
 * @throws MeshpassError `usage` if a file or directory cannot be read
 */
export async function readManifestFiles(paths: readonly string[]): Promise<ManifestFiles> {
  const files: ManifestFile[] = [];
  const leftOut: LeftOut[] = [];
  for (const path of paths) {
    if (path === '-') files.push({ name: 'stdin', text: await readStandardInput(), isFound: false });
    else if (attempt(path, () => statSync(path)).isDirectory()) {
      let found = 0;
      for (const { path: file, isTemplate } of walk(path, leftOut)) {
        if (++found > MOST_FILES) throw new MeshpassError('usage', `${path} contains more than ${MOST_FILES} files.`);
        const text = read(file);
        if (isPointer(text)) leftOut.push({ path: file, why: 'it is a Git LFS pointer', mayHold: true });
        else if (isTemplate && Buffer.from(text.buffer, text.byteOffset, text.byteLength).includes(ACTION))
          leftOut.push({ path: file, why: TEMPLATE, mayHold: true });
        else if (holdsObjects(text, file)) files.push({ name: file, text, isFound: true });
        else leftOut.push({ path: file, why: 'it contains no Kubernetes objects', mayHold: false });
      }
    } else files.push({ name: path, text: read(path), isFound: false });
  }
  return { files, leftOut };
}

/**
 * Checks that manifests, a cluster, or both are specified.
 * @throws MeshpassError `usage` if neither manifests nor a cluster are specified
 */
export function requireInput(paths: readonly string[], cluster: string | undefined): void {
  if (paths.length === 0 && cluster === undefined)
    throw new MeshpassError('usage', 'Pass manifest files or directories, - for standard input, or --kubeconfig.');
}

const TEMPLATE = 'Helm templates must be rendered first: helm template ... | meshpass policy lint -';

interface Found {
  readonly path: string;
  /** Whether the file is in the templates directory of a Helm chart. */
  readonly isTemplate: boolean;
}

/**
 * Lists all files below a directory. Symbolic links to directories are not followed, because they may form a loop and
 * kubectl does not follow them either.
 */
function* walk(directory: string, leftOut: LeftOut[], isTemplate = false): Generator<Found> {
  const isChart = existsSync(join(directory, 'Chart.yaml'));
  const entries = attempt(directory, () => readdirSync(directory, { withFileTypes: true }));
  for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) {
      const why = NOT_FOLLOWED.get(entry.name);
      if (why === undefined) yield* walk(path, leftOut, isTemplate || (isChart && entry.name === 'templates'));
      else leftOut.push({ path, ...why });
    } else if (entry.isSymbolicLink() && !MANIFEST.test(entry.name)) {
      if (!leadsToFile(path)) leftOut.push({ path, why: 'it is not a regular file', mayHold: true });
    } else if (MANIFEST.test(entry.name)) {
      // Check that this is a regular file, because opening a named pipe would block.
      if (attempt(path, () => statSync(path)).isFile()) yield { path, isTemplate };
      else leftOut.push({ path, why: 'it is not a regular file', mayHold: true });
    }
  }
}

/**
 * Whether a symbolic link points to a regular file. A broken link may point to a directory that was not checked out,
 * such as a Git submodule.
 */
function leadsToFile(path: string): boolean {
  try {
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** Whether the file is a Git LFS pointer whose contents have not been checked out. */
function isPointer(text: Uint8Array): boolean {
  return Buffer.from(text.subarray(0, POINTER.length)).equals(POINTER);
}

const POINTER = Buffer.from('version https://git-lfs.github.com/spec/');

/**
 * Tool directories, which are skipped because they usually contain many files and few manifests. Files in `.git` are
 * never committed, so they cannot be manifests.
 */
const NOT_FOLLOWED = new Map([
  ['.git', { why: 'a Git directory', mayHold: false }],
  ['node_modules', { why: 'an npm directory', mayHold: true }],
]);

function read(path: string): Uint8Array {
  const file = attempt(path, () => openSync(path, 'r'));
  try {
    const room = Buffer.alloc(Math.min(fstatSync(file).size, MAX_BYTES) + 1);
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
    throw unreadableFileError(path, cause);
  }
}
