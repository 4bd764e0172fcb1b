/** An access file and what it includes, from disk. */
import { readFileSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, sep } from 'node:path';
import { fileProblem, MeshpassError } from '@meshpass/identity';
import type { Access } from '../model.ts';
import type { SchemaOptions } from '../schema/access-file.ts';
import { parseAccess } from './parse.ts';

export interface LoadedAccess {
  readonly access: Access;
  /** Every file that was read, as a path on disk. */
  readonly paths: readonly string[];
}

export interface LoadOptions extends SchemaOptions {
  /** Name of the first file in messages. Default: its base name. */
  readonly name?: string;
  /** Told of every file that is read, also where the whole is refused. */
  readonly onRead?: (path: string, text: string) => void;
}

/** One file; what is larger is refused by the reader of YAML, and need not be read to the end. */
const MAX_BYTES = 1024 * 1024;

/**
 * Reads an access file with all that it includes. Links are followed once, for the directory of the first file: a
 * mounted ConfigMap is such a link, and what it is exchanged for meanwhile is not mixed in. A link that leads out of
 * the directory is refused.
 * @throws MeshpassError `access_file_*`; `config_invalid` where the first file cannot be read
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
  const take = (from: string): string => {
    const about = statSync(from);
    // A pipe would be waited for.
    if (!about.isFile())
      throw Object.assign(new Error('it is not a regular file'), about.isDirectory() && { code: 'EISDIR' });
    if (about.size > MAX_BYTES) return ' '.repeat(MAX_BYTES + 1);
    const text = readFileSync(from, 'utf8');
    paths.push(from);
    onRead(from, text);
    return text;
  };
  let first: string;
  let text: string;
  try {
    first = realpathSync(path);
    text = take(first);
  } catch (cause) {
    throw new MeshpassError('config_invalid', `${path} cannot be read: ${fileProblem(cause)}.`, { cause });
  }
  const root = dirname(first);
  const include = (relative: string) => {
    try {
      const found = realpathSync(join(root, relative));
      if (!found.startsWith(root.endsWith(sep) ? root : root + sep)) {
        return { problem: 'is a link that leads out of the directory of the first file' };
      }
      return { text: take(found) };
    } catch (cause) {
      return {
        problem:
          (cause as NodeJS.ErrnoException).code === 'ENOENT'
            ? 'does not exist'
            : `cannot be read: ${fileProblem(cause)}`,
      };
    }
  };
  return { access: parseAccess(text, name, { ...schema, include }), paths };
}
