/** What an operator has to mend, though the broker goes on; each is logged when it is new. */
import type { Log } from '../telemetry/log.ts';

export interface MeshProblems {
  /** A file that was refused. */
  file?: string;
  /** Why policies could not be applied. */
  apply?: string;
  /** Granted services or roles that are gone or changed. */
  mesh?: string;
  /** Selected services that cannot be granted as they are. */
  selected?: string;
  /** The file on disk was changed, while another one is in force. */
  disk?: string;
}

const SAID = {
  mesh: { member: 'missing', message: 'granted services or roles are gone or changed; they are left out' },
  selected: { member: 'leftOut', message: 'selected services cannot be granted as they are' },
  disk: { member: 'reason', message: 'the access file on disk is ignored' },
} as const;

/** @param text absent or empty where it is mended */
export function tell(problems: MeshProblems, log: Log, kind: keyof typeof SAID, text: string | undefined): void {
  if (!text) {
    delete problems[kind];
    return;
  }
  const { member, message } = SAID[kind];
  if (text !== problems[kind]) log.warn({ [member]: text }, message);
  problems[kind] = text;
}
