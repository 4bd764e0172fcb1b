/**
 * The access file on disk: read, and read again when it changes. The directory is watched, because a mounted ConfigMap is
 * replaced by swapping a link beside the file; and it is polled, because no file system promises events.
 */
import { type FSWatcher, watch as watchFile } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { MeshpassError, toMeshpassError } from '@meshpass/identity';
import { type Access, parseAccess } from '@meshpass/policy';

export interface AccessFile {
  /** Reads now and tells of the file, also where it is the one that was read last. */
  reload(): Promise<void>;
  close(): void;
}

export interface AccessFileOptions {
  readonly path: string;
  /** A file that parses. */
  readonly onFile: (access: Access) => void;
  /** One that does not, or cannot be read; told once per content. */
  readonly onRefused: (error: MeshpassError) => void;
}

const POLL_MS = 5_000;
/** Editors write in several steps. */
const SETTLE_MS = 50;

export function openAccessFile({ path, onFile, onRefused }: AccessFileOptions): AccessFile {
  let seen: string | undefined;
  let settling: NodeJS.Timeout | undefined;

  const look = async (): Promise<void> => {
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch (cause) {
      const code = String((cause as NodeJS.ErrnoException).code);
      if (seen !== code) onRefused(new MeshpassError('config_invalid', `${path} cannot be read (${code}).`, { cause }));
      seen = code;
      return;
    }
    if (text === seen) return;
    seen = text;
    try {
      onFile(parseAccess(text, basename(path)));
    } catch (error) {
      onRefused(toMeshpassError(error));
    }
  };

  const soon = (): void => {
    clearTimeout(settling);
    settling = setTimeout(() => void look(), SETTLE_MS);
  };
  let watcher: FSWatcher | undefined;
  try {
    watcher = watchFile(dirname(path), soon).on('error', () => watcher?.close());
  } catch {
    // No directory, or no inotify left: polling finds it.
  }
  const poll = setInterval(() => void look(), POLL_MS);
  void look();

  return {
    reload: () => {
      seen = undefined;
      return look();
    },
    close: () => {
      clearTimeout(settling);
      clearInterval(poll);
      watcher?.close();
    },
  };
}
