/**
 * Reads the access file and its includes from disk, and reloads them on any change. Files are polled, because file
 * systems do not guarantee events, and because Kubernetes updates a mounted ConfigMap by replacing a symbolic link next
 * to the file.
 */
import { readFileSync, realpathSync } from 'node:fs';
import { basename } from 'node:path';
import { type Access, loadAccess } from '@meshpass/access';
import { type MeshpassError, toMeshpassError } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';

/** Texts of an access file and its includes, by path as in `include`. */
export interface AccessTexts {
  readonly main: string;
  /** Texts of all files, in the order in which they were read. */
  readonly files: Readonly<Record<string, string>>;
}

/** Access file that was read from disk. */
export interface DiskFile extends AccessTexts {
  /** SHA-256 of all texts, hex. */
  readonly digest: string;
}

export interface AccessFileOptions {
  readonly path: string;
  /** Called with each file that parses, including its includes. */
  readonly onFile: (access: Access, file: DiskFile) => void;
  /** Called with the error if a file cannot be read or parsed. Called once per content. */
  readonly onRefused: (error: MeshpassError) => void;
}

/** Returns the SHA-256 of the texts in order, hex. */
export function digestTexts(files: DiskFile['files']): string {
  return sha256Hex(JSON.stringify(Object.values(files)));
}

const POLL_MS = 1_000;
/** Time during which a changed file must remain unchanged, ms. Editors may write a file in more than one step. */
const SETTLE_MS = 50;

/** Opens the access file. Its content is reported in the next microtask. */
export function openAccessFile({ path, onFile, onRefused }: AccessFileOptions) {
  /** Text of each current file, by path on disk. Undefined if the files must be read again. */
  let seen: ReadonlyMap<string, string> | undefined;
  /** Texts from the last read. */
  let before: string | undefined;
  let settling: NodeJS.Timeout | undefined;
  let refused: string | undefined;

  /**
   * Reads the file if it has changed.
   * @param isSettled whether to report the content without waiting for it to settle, even though it may be incomplete
   */
  const look = (isSettled: boolean): void => {
    if (seen && isUnchanged(path, seen)) return;
    const read = new Map<string, string>();
    const loaded = tryLoad(path, read);
    const texts = JSON.stringify([...read]);
    if (!isSettled && texts !== before) {
      before = texts;
      clearTimeout(settling);
      settling = setTimeout(look, SETTLE_MS, false);
      return;
    }
    before = texts;
    if ('access' in loaded) {
      seen = read;
      refused = undefined;
      onFile(loaded.access, { digest: digestTexts(loaded.files), main: loaded.main, files: loaded.files });
      return;
    }
    // An unreadable file may become readable even though the readable files do not change.
    seen = undefined;
    if (refused === loaded.error.message) return;
    refused = loaded.error.message;
    onRefused(loaded.error);
  };

  const poll = setInterval(look, POLL_MS, false);
  queueMicrotask(() => look(true));

  return {
    /** Reads the file immediately and reports it, even if it is unchanged. */
    reload: async () => {
      seen = undefined;
      refused = undefined;
      look(true);
    },
    close: () => {
      clearInterval(poll);
      clearTimeout(settling);
    },
  };
}

/**
 * Reads the access file on disk.
 * @returns the file with its includes, by path relative to the file
 * @throws MeshpassError `access_*`
 */
export function readAccessFile(path: string): AccessTexts {
  const { main, files } = load(path, new Map());
  return { main, files };
}

/**
 * Loads the file with its includes.
 * @param read receives the text of each file by path on disk, even if a later file is refused
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
