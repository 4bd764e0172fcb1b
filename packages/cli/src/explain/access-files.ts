/**
 * A checkout's access file with the texts of all its files, so that one file can be changed and the whole parsed again.
 */
import { type Access, loadAccess, parseAccess } from '@meshpass/access';
import { namingFlag } from '../input/text-file.ts';

export interface AccessFiles {
  readonly access: Access;
  /** File contents by the names that places use: the first file as given, included files relative to its directory. */
  readonly texts: ReadonlyMap<string, string>;
  /** Paths on disk, by the same names. */
  readonly paths: ReadonlyMap<string, string>;
}

/**
 * Reads an access file with all of its includes.
 * @throws MeshpassError `access_file_*`, `config_invalid`
 */
export function readAccessFiles(file: string, flag: string): AccessFiles {
  return namingFlag(flag, () => {
    const read = new Map<string, string>();
    const { access, paths } = loadAccess(file, { name: file, onRead: (path, text) => read.set(path, text) });
    const names = access.files ?? [access.file];
    return {
      access,
      texts: new Map(names.map((name, at) => [name, read.get(paths[at]!)!])),
      paths: new Map(names.map((name, at) => [name, paths[at]!])),
    };
  });
}

/**
 * Parses the access file again, with a new text for one of its files.
 * @throws MeshpassError `access_file_*`
 */
export function withText({ access, texts }: AccessFiles, name: string, text: string): Access {
  const all = new Map([...texts, [name, text]]);
  const prefix = access.file.slice(0, access.file.lastIndexOf('/') + 1);
  return parseAccess(all.get(access.file)!, access.file, {
    include: (path) => {
      const found = all.get(prefix + path);
      return found === undefined ? { problem: 'was not read' } : { text: found };
    },
  });
}
