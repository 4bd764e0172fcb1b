/**
 * Which access file was in force before this broker was the active one. What the mesh has lost meanwhile is left out of that file, as the broker
 * before did it. A file that never was in force is refused for the same: it may be a mistake, and nobody depends on it yet.
 */
import type { Access } from '@meshpass/access';

export interface FormerAccess {
  /** A file on disk. @param access absent where it cannot be used. @param digest of its text and that of what it includes */
  readonly onDisk: (access: Access | undefined, digest: string) => void;
  /** Is in force now. */
  readonly adopted: (access: Access) => void;
  /** What the operator has to know of the file on disk while one that was applied by plan is in force; undefined: nothing. */
  readonly ignored: (inForce: Access) => string | undefined;
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
  let disk: { readonly access: Access | undefined; readonly digest: string } | undefined;
  return {
    onDisk: (access, digest) => {
      disk = { access, digest };
      if (access) digests.set(access, digest);
    },
    adopted: (access) => {
      told = digests.get(access) ?? told;
    },
    // That it is older than what was applied is as it has to be; that it was changed since is somebody's mistake.
    ignored: (inForce) =>
      disk && disk.digest !== told && !(disk.access && isSame(disk.access, inForce)) ? IGNORED : undefined,
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

const IGNORED =
  'the access file on disk was changed, and is ignored: the one in force was applied with "meshpass policy apply". Apply the change ' +
  'in the same way, or make the file on disk what is in force; "meshpass policy history" lists what was applied';

/** Whether two files say the same, wherever it stands in them. */
function isSame(one: Access, other: Access): boolean {
  const said = ({ file, files, ...rest }: Access) =>
    JSON.stringify(rest, (key, value) => (key === 'place' && typeof value?.line === 'number' ? undefined : value));
  return said(one) === said(other);
}
