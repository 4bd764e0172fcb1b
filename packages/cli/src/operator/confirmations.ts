/** What waits for a second person, as the broker shows it. */

export interface Waiting {
  readonly id: string;
  readonly action: string;
  /** SHA-256 of the action and every parameter. */
  readonly digest: string;
  readonly subject: string;
  readonly login: string;
  readonly reason: string | null;
  readonly target: string | null;
  readonly expires_at: string;
  /** Of one alone. */
  readonly parameters?: unknown;
}

/** For people. @returns lines */
export function waitingText({
  id,
  action,
  login,
  subject,
  reason,
  target,
  expires_at: until,
  ...one
}: Waiting): string {
  return [
    `${id}  ${action}${target === null ? '' : `  ${target}`}`,
    `    ${login} (${subject}) asks${reason === null ? '' : `: ${reason}`}`,
    `    until ${until}, digest ${one.digest}`,
    ...('parameters' in one ? [`    parameters: ${JSON.stringify(one.parameters)}`] : []),
  ].join('\n');
}
