/**
 * Access file that was in force before this broker became active. As with the previous broker, objects that the mesh
 * has lost since are omitted. A file that was never in force is refused for the same loss, because it may be a mistake
 * and no session depends on it. If the file on disk is refused at a start, the former file comes into force again, so
 * that a restart changes nothing that a running broker would not.
 */
import type { Access } from '@meshpass/access';
import { accessChanges } from '@meshpass/analysis/plan';
import type { DiskFile } from './access-file.ts';

/** Access file from disk that came into force last, from the store. */
export interface KeptAccess {
  /** SHA-256 of its text, hex. */
  readonly digest: string;
  /** Undefined if this version of Meshpass refuses the text. */
  readonly access: Access | undefined;
}

/** Creates an empty record. */
export function createFormerAccess() {
  const diskFiles = new WeakMap<Access, DiskFile>();
  let told: string | undefined;
  let kept: Access | undefined;
  let resumed: Access | undefined;
  let disk: { readonly access: Access | undefined; readonly digest: string } | undefined;
  return {
    /**
     * Records the file on disk.
     * @param access undefined if it cannot be used
     * @param file its texts, or a digest of the problem
     */
    onDisk: (access: Access | undefined, file: DiskFile | { readonly digest: string }) => {
      disk = { access, digest: file.digest };
      if (access && 'files' in file) diskFiles.set(access, file);
    },
    /** Records the file that is now in force. */
    adopted: (access: Access) => {
      told = diskFiles.get(access)?.digest ?? told;
    },
    // A file on disk that is older than the applied one is expected; a later change to it is probably a mistake.
    /** Warning about the file on disk while an applied plan is in force; undefined if there is none. */
    ignored: (inForce: Access) =>
      disk && disk.digest !== told && !(disk.access && accessChanges(inForce, disk.access).length === 0)
        ? IGNORED
        : undefined,
    /** @returns undefined if it was not read from disk */
    diskFileOf: (access: Access) => diskFiles.get(access),
    /**
     * Records the file from the store.
     * @returns whether it is different from the previous one
     */
    tell: ({ digest, access }: KeptAccess) => {
      const isNews = digest !== told || access !== kept;
      told = digest;
      kept = access;
      return isNews;
    },
    /** Records a file that was applied by plan and stays in force. It is newer than the stored file. */
    resume: (access: Access) => {
      resumed = access;
    },
    /** Returns the file to continue with if the one on disk is refused before any is in force. */
    access: () => resumed ?? kept,
    is: (access: Access) =>
      access === resumed || access === kept || (told !== undefined && diskFiles.get(access)?.digest === told),
  };
}

const IGNORED =
  'the access file on disk was changed but is ignored, because the one in force was applied with "meshpass policy apply". Apply the change ' +
  'in the same way, or return to the file on disk with "meshpass policy rollback 0". "meshpass policy history" lists the applied files';
