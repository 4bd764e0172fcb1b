/** An explanation as text and as JSON. */
import { plainText } from '@meshpass/identity/text';
import { formatWanted, type WantedCall } from '../explain/call.ts';
import type { Explanation, HopLine } from '../explain/explanation.ts';
import type { Patch } from '../explain/patch.ts';

/**
 * The verdict, then a line for each hop. Names and paths come from outside: nothing of them moves a terminal's cursor.
 * @param request id of the request that was refused, where one was
 */
export function explainText(
  { verdict, call, session, endpoint, grant, hops, beyond }: Explanation,
  request?: string,
): string {
  const to = endpoint ?? `${call.host}:${call.port}`;
  const by = grant === undefined ? '' : `, by grant ${grant}`;
  const lines = [
    `${verdict}: ${formatWanted(call)} to ${to}${by}`,
    ...hops.map((one) => `  ${`${one.hop}:`.padEnd(WIDTH)}${MARK[one.verdict]}${one.reason}${placeText(one)}`),
    ...(beyond === undefined ? [] : [`  ${beyond}`]),
    ...(verdict === 'refused' || request !== undefined
      ? [`  for your platform team: session ${session}${request === undefined ? '' : `, request ${request}`}`]
      : []),
  ];
  return lines.map(plainText).join('\n');
}

const WIDTH = 'edge and gateway: '.length;
const MARK: Readonly<Record<Explanation['verdict'], string>> = {
  allowed: '',
  refused: 'REFUSED: ',
  unknown: 'UNKNOWN: ',
};

function placeText({ place }: HopLine): string {
  return place === undefined ? '' : ` (${place})`;
}

/** What a patch means, for whoever reviews it. */
export function patchText({ grant, widens, holders, assumed }: Patch, call: WantedCall): string {
  const lines = [
    `With this change, grant ${grant} allows ${formatWanted(call)}: proven on what it compiles to.`,
    ...widens.map((what) => `widens: ${what}`),
    `for every holder of the grant: ${holders.join('; ')}`,
    ...assumed.map((what) => `assumed: ${what}`),
  ];
  return lines.map(plainText).join('\n');
}

/** Plain data for `--output json`. */
export function explainJson(
  { verdict, call, session, endpoint, grant, hops, beyond }: Explanation,
  request?: string,
): object {
  const { protocol, host, port, method, path } = call;
  const http = protocol === 'http' && { method, path: path.split('?')[0] };
  return { verdict, call: { protocol, host, port, ...http }, session, request, endpoint, grant, hops, beyond };
}
