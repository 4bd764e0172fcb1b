/** Problems that an operator must fix, even though the broker continues to work. Each problem is logged once. */
import type { Log } from '../../base/index.ts';

export interface MeshProblems {
  /** Reason that a file was refused. */
  file?: string;
  /** Reason that policies were not applied. */
  apply?: string;
  /** Granted services or roles that are missing or changed. */
  mesh?: string;
  /** Selected services that cannot be granted. */
  selected?: string;
  /** Warning that the file on disk has changed while another file is in force. */
  disk?: string;
}

const SAID = {
  mesh: { member: 'missing', message: 'skipping granted services or roles that are missing or changed' },
  selected: { member: 'leftOut', message: 'some selected services cannot be granted' },
  disk: { member: 'reason', message: 'the access file on disk is ignored' },
} as const;

/**
 * Records a problem and logs it if it is new.
 * @param text description of the problem. Absent or empty if it has been fixed
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
