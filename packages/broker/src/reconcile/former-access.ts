/**
 * Which access file was in force before this broker was the active one. What the mesh has lost meanwhile is left out of that file, as the broker
 * before did it. A file that never was in force is refused for the same: it may be a mistake, and nobody depends on it yet.
 */
import type { Access } from '@meshpass/access';

export interface FormerAccess {
  /** A file on disk. @param digest of its text and that of what it includes */
  readonly onDisk: (access: Access, digest: string) => void;
  /** @returns undefined where it was applied by plan */
  readonly digestOf: (access: Access) => string | undefined;
  /** The digest that the store has. @returns whether that is news */
  readonly tell: (digest: string) => boolean;
  /** A file that was applied by plan, and is gone on with. */
  readonly resume: (access: Access) => void;
  readonly is: (access: Access) => boolean;
}

export function createFormerAccess(): FormerAccess {
  const digests = new WeakMap<Access, string>();
  let told: string | undefined;
  let resumed: Access | undefined;
  return {
    onDisk: (access, digest) => void digests.set(access, digest),
    digestOf: (access) => digests.get(access),
    tell: (digest) => {
      const isNews = digest !== told;
      told = digest;
      return isNews;
    },
    resume: (access) => {
      resumed = access;
    },
    is: (access) => access === resumed || (told !== undefined && digests.get(access) === told),
  };
}
