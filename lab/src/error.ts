/** The one error of the lab. The product's codes (packages/identity) stay free of what only the lab can say. */

export type LabErrorCode =
  /** This machine cannot run the lab; the message names the missing part. */
  | 'lab_unsupported'
  /** A name or an option that does not exist. */
  | 'lab_usage'
  /** Something could not be installed or built. */
  | 'lab_install'
  /** A process or a host did not start; the message ends with its last log lines. */
  | 'lab_start'
  /** No lab of that name is running. */
  | 'lab_not_running'
  /** The lab's Kubernetes API refused or did not answer. */
  | 'lab_kubernetes';

export class LabError extends Error {
  override readonly name = 'LabError';
  readonly code: LabErrorCode;

  /** @param message the problem and the next step */
  constructor(code: LabErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}
