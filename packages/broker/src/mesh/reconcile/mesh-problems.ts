/** Problems that an operator must fix although the broker continues. Each is logged once. */
import type { Log } from '../../base/index.ts';

export interface MeshProblems {
  /** Why a file was refused. */
  file?: string;
  /** Why policies were not applied. */
  apply?: string;
  /** Granted services or roles that are missing or changed. */
  mesh?: string;
  /** Selected services that cannot be granted. */
  selected?: string;
  /** Warning that the file on disk was changed while another one is in force. */
  disk?: string;
}

const SAID = {
  mesh: { member: 'missing', message: 'skipping granted services or roles that are missing or changed' },
  selected: { member: 'leftOut', message: 'some selected services cannot be granted' },
  disk: { member: 'reason', message: 'the access file on disk is ignored' },
} as const;

/**
 * Records a problem and logs it if it is new.
 * @param text absent or empty if the problem is fixed
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
