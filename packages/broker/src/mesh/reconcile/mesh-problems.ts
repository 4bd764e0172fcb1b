/**
 * Records the problems that an operator has to fix even though the broker keeps working. Each problem is only logged
 * once.
 */
import type { Log } from '../../base/index.ts';

export interface MeshProblems {
  /** The reason why a new access file was rejected. */
  file?: string;
  /** The reason why the policies could not be applied. */
  apply?: string;
  /** The granted services or roles that are missing or have changed. */
  mesh?: string;
  /** The services that match a selector but cannot be granted. */
  selected?: string;
  /** A warning that the file on disk has changed while a different file is in force. */
  disk?: string;
}

const SAID = {
  mesh: { member: 'missing', message: 'skipping granted services or roles that are missing or changed' },
  selected: { member: 'leftOut', message: 'some selected services cannot be granted' },
  disk: { member: 'reason', message: 'the access file on disk is ignored' },
} as const;

/**
 * Records a problem and logs it if it is new, or clears it.
 * @param text a description of the problem, or undefined or an empty string if it has been fixed
 */
export function tell(problems: MeshProblems, log: Log, kind: keyof typeof SAID, text: string | undefined): void {
  if (!text) {
    delete problems[kind];
    return;
  }
  const { member, message } = SAID[kind];
  if (text !== problems[kind]) log.warn({ [member]: text }, message);
  problems[kind] = text;
}
