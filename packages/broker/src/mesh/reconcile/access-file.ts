/**
 * Reads the access file and its includes from disk and reloads them whenever any of them changes. The files are polled
 * for two reasons: file systems do not guarantee change events, and Kubernetes updates a mounted ConfigMap by replacing
 * a symbolic link next to the file.
 */
import { readFileSync, realpathSync } from 'node:fs';
import { basename } from 'node:path';
import { type Access, loadAccess } from '@meshpass/access';
import { type MeshpassError, sha256Hex, toMeshpassError } from '@meshpass/identity';

/** The texts of an access file and its includes, keyed by the path used in `include`. */
export interface AccessTexts {
  readonly main: string;
  /** The texts of all files, in the order they were read. */
  readonly files: Readonly<Record<string, string>>;
}

/** An access file that was read from disk. */
export interface DiskFile extends AccessTexts {
  /** The SHA-256 hash of all texts, in hex. */
  readonly digest: string;
}

export interface AccessFileOptions {
  readonly path: string;
  /** Called with every version of the file that can be parsed together with its includes. */
  readonly onFile: (access: Access, file: DiskFile) => void;
  /** Called with the error if any of the files cannot be read or parsed. The same error is reported only once. */
  readonly onRefused: (error: MeshpassError) => void;
}

/** Returns the SHA-256 hash (in hex) of the texts in their given order. */
export function digestTexts(files: DiskFile['files']): string {
  return sha256Hex(JSON.stringify(Object.values(files)));
}

/**
 * How often the files are compared with what was read last, in milliseconds. A change is used if the next comparison
 * finds the same content, because some editors write a file in more than one step.
 */
const POLL_MS = 50;
/** A refused file is only read again on every twentieth poll, because that parses the file. */
const REFUSED_EVERY = 20;

/** Opens the access file and watches it for changes. Its current content is reported in the next microtask. */
export function openAccessFile({ path, onFile, onRefused }: AccessFileOptions) {
  /** The text of each file as last read, by its path on disk. Undefined if the files must be read again. */
  let seen: ReadonlyMap<string, string> | undefined;
  /** The texts that were found when the files were last read. */
  let before: string | undefined;
  /** Whether the last poll found new content. */
  let isChanging = false;
  let refused: string | undefined;

  /**
   * Checks whether the file has changed and, if so, reads and reports it.
   * @param isSettled whether to report the content right away instead of waiting until it no longer changes. It may be
   *   incomplete in this case.
   */
  const look = (isSettled: boolean): void => {
    if (seen && isUnchanged(path, seen)) return;
    const read = new Map<string, string>();
    const loaded = tryLoad(path, read);
    const texts = JSON.stringify([...read]);
    isChanging = !isSettled && texts !== before;
    before = texts;
    if (isChanging) return;
    if ('access' in loaded) {
      seen = read;
      refused = undefined;
      onFile(loaded.access, { digest: digestTexts(loaded.files), main: loaded.main, files: loaded.files });
      return;
    }
    // Read all files again next time, because an unreadable file may become readable without any change to the other
    // files.
    seen = undefined;
    if (refused === loaded.error.message) return;
    refused = loaded.error.message;
    onRefused(loaded.error);
  };

  let polls = 0;
  const poll = setInterval(() => {
    polls += 1;
    if (refused === undefined || isChanging || polls % REFUSED_EVERY === 0) look(false);
  }, POLL_MS);
  queueMicrotask(() => look(true));

  return {
    /** Reads the file immediately and reports it even if it has not changed. */
    reload: async () => {
      seen = undefined;
      refused = undefined;
      look(true);
    },
    close: () => clearInterval(poll),
  };
}

/**
 * Reads the access file and its includes from disk once.
 * @returns the file and its includes, keyed by their paths relative to the file
 * @throws MeshpassError `access_*`
 */
export function readAccessFile(path: string): AccessTexts {
  const { main, files } = load(path, new Map());
  return { main, files };
}

/**
 * Loads and parses the access file with its includes.
 * @param read a map that receives the text of each file by its path on disk, even if a later file is rejected
 */
function load(path: string, read: Map<string, string>): AccessTexts & { readonly access: Access } {
  const files: Record<string, string> = {};
  const { access } = loadAccess(path, {
    onRead: (from, text, name) => {
      read.set(from, text);
      files[name] = text;
    },
  });
  return { access, main: basename(path), files };
}

function tryLoad(path: string, read: Map<string, string>): ReturnType<typeof load> | { readonly error: MeshpassError } {
  try {
    return load(path, read);
  } catch (thrown) {
    return { error: toMeshpassError(thrown) };
  }
}

function isUnchanged(path: string, seen: ReadonlyMap<string, string>): boolean {
  try {
    const [first] = seen.keys();
    return realpathSync(path) === first && [...seen].every(([file, text]) => readFileSync(file, 'utf8') === text);
  } catch {
    return false;
  }
}
