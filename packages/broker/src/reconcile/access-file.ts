/**
 * The access file on disk, with what it includes: read, and read again when any of it changes. Directories are watched,
 * because a mounted ConfigMap is replaced by swapping a link beside the file; and files are polled, because no file system
 * promises events.
 */
import { type FSWatcher, readFileSync, realpathSync, watch as watchFile } from 'node:fs';
import { dirname } from 'node:path';
import { type Access, loadAccess } from '@meshpass/access';
import { type MeshpassError, toMeshpassError } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';

export interface AccessFile {
  /** Reads now and tells of the file, also where it is the one that was read last. */
  reload(): Promise<void>;
  close(): void;
}

export interface AccessFileOptions {
  readonly path: string;
  /** A file that parses, with all that it includes. @param digest SHA-256 of all of their text, hex */
  readonly onFile: (access: Access, digest: string) => void;
  /** One that does not, or cannot be read; told once per content. */
  readonly onRefused: (error: MeshpassError) => void;
}

const POLL_MS = 5_000;
/** Editors write in several steps. */
const SETTLE_MS = 50;

export function openAccessFile({ path, onFile, onRefused }: AccessFileOptions): AccessFile {
  /** Text of every file that was read last, by its path on disk; undefined where it has to be read anew. */
  let seen: ReadonlyMap<string, string> | undefined;
  let refused: string | undefined;
  let settling: NodeJS.Timeout | undefined;
  const watchers = new Map<string, FSWatcher>();

  const look = (): void => {
    if (seen && isUnchanged(path, seen)) return;
    const read = new Map<string, string>();
    try {
      const { access } = loadAccess(path, { onRead: (from, text) => read.set(from, text) });
      seen = read;
      refused = undefined;
      onFile(access, sha256Hex(JSON.stringify([...read.values()])));
    } catch (thrown) {
      // What could not be read may come without a change of what could.
      seen = undefined;
      const error = toMeshpassError(thrown);
      if (refused === error.message) return;
      refused = error.message;
      onRefused(error);
    } finally {
      follow(new Set([path, ...read.keys()].map((file) => dirname(file))));
    }
  };

  const soon = (): void => {
    clearTimeout(settling);
    settling = setTimeout(look, SETTLE_MS);
  };
  const follow = (directories: ReadonlySet<string>): void => {
    for (const [directory, watcher] of watchers) {
      if (directories.has(directory)) continue;
      watcher.close();
      watchers.delete(directory);
    }
    for (const directory of directories) {
      if (watchers.has(directory)) continue;
      try {
        const watcher = watchFile(directory, soon).on('error', () => {
          watcher.close();
          watchers.delete(directory);
        });
        watchers.set(directory, watcher);
      } catch {
        // No directory, or no inotify left: polling finds it.
      }
    }
  };
  const poll = setInterval(look, POLL_MS);
  queueMicrotask(look);

  return {
    reload: async () => {
      seen = undefined;
      refused = undefined;
      look();
    },
    close: () => {
      clearTimeout(settling);
      clearInterval(poll);
      for (const watcher of watchers.values()) watcher.close();
      watchers.clear();
    },
  };
}

function isUnchanged(path: string, seen: ReadonlyMap<string, string>): boolean {
  try {
    const [first] = seen.keys();
    return realpathSync(path) === first && [...seen].every(([file, text]) => readFileSync(file, 'utf8') === text);
  } catch {
    return false;
  }
}
