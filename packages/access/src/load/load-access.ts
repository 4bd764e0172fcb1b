/** Loads an access file and the files it includes from disk. */
import { readFileSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, sep } from 'node:path';
import { describeFileError, MeshpassError } from '@meshpass/identity';
import type { Access } from '../model.ts';
import type { SchemaOptions } from '../schema/access-file.ts';
import { parseAccess } from './parse.ts';

export interface LoadedAccess {
  readonly access: Access;
  /** The paths of all files that were read. */
  readonly paths: readonly string[];
}

interface LoadOptions extends SchemaOptions {
  /** The name of the main file in messages. Defaults to its base name. */
  readonly name?: string;
  /**
   * Called for every file that is read, even if the access file is rejected.
   * @param name the path that `parseAccess` requested
   */
  readonly onRead?: (path: string, text: string, name: string) => void;
}

/** The maximum size of a file in bytes. The YAML reader rejects larger files, so there is no need to read them. */
const MAX_BYTES = 1024 * 1024;

/**
 * Reads an access file and the files it includes. Symbolic links are resolved once, for the directory of the main file.
 * A mounted ConfigMap is such a link, so two versions are never mixed if it is replaced while the files are being read.
 * Links that lead out of the directory are rejected.
 * @throws MeshpassError `access_file_*`; `config_invalid` if the main file cannot be read
 * @example
 * ```ts
 * import { mkdtempSync, writeFileSync } from 'node:fs';
 * import { tmpdir } from 'node:os';
 * import { join } from 'node:path';
 * import { loadAccess } from '@meshpass/access';
 * const path = join(mkdtempSync(join(tmpdir(), 'meshpass-example-')), 'access.yaml');
 * writeFileSync(path, `
 * trust: {codespaces: {organization: acme}}
 * grants: {dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}]}}`);
 * loadAccess(path).access.grants.map(({ name }) => name); // => ['dev']
 * ```
 */
export function loadAccess(path: string, options: LoadOptions = {}): LoadedAccess {
  const { name = basename(path), onRead = () => {}, ...schema } = options;
  const paths: string[] = [];
  const take = (from: string, as: string): string => {
    const about = statSync(from);
    // Reading from a named pipe would block.
    if (!about.isFile())
      throw Object.assign(new Error('it is not a regular file'), about.isDirectory() && { code: 'EISDIR' });
    if (about.size > MAX_BYTES) return ' '.repeat(MAX_BYTES + 1);
    const text = readFileSync(from, 'utf8');
    paths.push(from);
    onRead(from, text, as);
    return text;
  };
  let first: string;
  let text: string;
  try {
    first = realpathSync(path);
    text = take(first, name);
  } catch (cause) {
    throw new MeshpassError('config_invalid', `Cannot read ${path}: ${describeFileError(cause)}.`, { cause });
  }
  const root = dirname(first);
  const include = (relative: string) => {
    try {
      const found = realpathSync(join(root, relative));
      if (!found.startsWith(root.endsWith(sep) ? root : root + sep)) {
        return { problem: 'is a symbolic link to a file outside the directory of the first file' };
      }
      return { text: take(found, relative) };
    } catch (cause) {
      return {
        problem:
          (cause as NodeJS.ErrnoException).code === 'ENOENT'
            ? 'does not exist'
            : `cannot be read: ${describeFileError(cause)}`,
      };
    }
  };
  return { access: parseAccess(text, name, { ...schema, include }), paths };
}
