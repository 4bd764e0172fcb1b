/** What an operator has to mend, though the broker goes on; each is logged when it is new. */
import type { Log } from '../telemetry/log.ts';

export interface MeshProblems {
  /** A file that was refused. */
  file?: string;
  /** Why policies could not be applied. */
  apply?: string;
  /** Granted services that are gone or changed. */
  mesh?: string;
  /** Selected services that cannot be granted as they are. */
  selected?: string;
}

/** @param missing why the file in force would not come into force today; undefined where it would */
export function tellMissing(problems: MeshProblems, log: Log, missing: string | undefined): void {
  if (missing === undefined) {
    delete problems.mesh;
    return;
  }
  if (missing !== problems.mesh) log.warn({ missing }, 'granted services are gone or changed; they are left out');
  problems.mesh = missing;
}

/** @param leftOut empty where every selected service is granted */
export function tellLeftOut(problems: MeshProblems, log: Log, leftOut: string): void {
  if (leftOut === (problems.selected ?? '')) return;
  if (leftOut === '') {
    delete problems.selected;
    return;
  }
  log.warn({ leftOut }, 'selected services cannot be granted as they are');
  problems.selected = leftOut;
}
