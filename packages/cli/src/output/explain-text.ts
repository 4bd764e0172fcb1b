/** Explanations as text and as JSON. */
import { plainText } from '@meshpass/identity/text';
import { linesText } from '../diagnosis/print.ts';
import { formatWanted, type WantedCall } from '../explain/call.ts';
import { type Explanation, VERDICTS } from '../explain/explanation.ts';
import type { Patch } from '../explain/patch.ts';

/**
 * Formats the verdict, and a line for each hop. Control characters are replaced, because names and paths come from
 * outside.
 * @param request id of a refused request, if any
 */
export function explainText(
  { verdict, call, session, contact = 'your platform team', endpoint, grant, hops, beyond }: Explanation,
  request?: string,
): string {
  const to = endpoint ?? `${call.host}:${call.port}`;
  const by = grant === undefined ? '' : `, by grant ${grant}`;
  const lines = [
    `${verdict}: ${formatWanted(call)} to ${to}${by}`,
    ...linesText(hops, { ...VERDICTS, warning: '', skipped: '' }).map((line) => `  ${line}`),
    ...(beyond === undefined ? [] : [`  ${beyond}`]),
    ...(verdict === 'refused' || request !== undefined
      ? [`  for ${contact}: session ${session}${request === undefined ? '' : `, request ${request}`}`]
      : []),
  ];
  return lines.map(plainText).join('\n');
}

/** Describes a patch for its reviewers. */
export function patchText({ grant, widens, holders, assumed }: Patch, call: WantedCall): string {
  const lines = [
    `With this change, grant ${grant} allows ${formatWanted(call)}: proven against the compiled policies.`,
    ...widens.map((what) => `widens: ${what}`),
    `for every holder of the grant: ${holders.join('; ')}`,
    ...assumed.map((what) => `assumed: ${what}`),
  ];
  return lines.map(plainText).join('\n');
}

/** Converts an explanation into plain data for `--output json`. */
export function explainJson(
  { verdict, call, session, contact, endpoint, grant, hops, beyond }: Explanation,
  request?: string,
): object {
  const { protocol, host, port, method, path } = call;
  const http = protocol === 'http' && { method, path: path.split('?')[0] };
  const shown = hops.map(({ check, state, says, place }) => ({
    hop: check,
    verdict: VERDICTS[state as keyof typeof VERDICTS],
    reason: says,
    place,
  }));
  const to = { protocol, host, port, ...http };
  return { verdict, call: to, session, contact, request, endpoint, grant, hops: shown, beyond };
}
