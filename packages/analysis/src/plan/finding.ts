/** Defines the problems that a change can have. */

export type FindingKind =
  | 'grant-does-not-work'
  | 'reaches-more'
  | 'changes-others'
  /** The result is unknown. The change is rejected unless an operator accepts the risk. */
  | 'not-known'
  /** The finding is only informative and does not prevent the change. */
  | 'note';

/** A problem, with a call that proves it and the rule that decides this call. */
export interface Finding {
  readonly kind: FindingKind;
  readonly grant?: string;
  /** Describes the calls and the ports that they are made to. */
  readonly message: string;
  readonly example: string;
  /** The rule that decides the example call. */
  readonly because: string;
}
