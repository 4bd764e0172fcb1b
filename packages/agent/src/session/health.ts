/** How well credentials are kept fresh. */
export interface Health {
  /** When the broker last answered, milliseconds since the epoch. */
  readonly brokerAnsweredAt: number;
  /** The last failure, until the next success of the same task. */
  readonly failures: Readonly<Record<string, string>>;
  /** The way by which the lease was renewed last, and when that began; opening the session counts as HTTPS. */
  readonly lease: { readonly by: 'channel' | 'https'; readonly since: number };
}
