import { lookup } from 'node:dns/promises';
import type { ExplainResponse } from '@meshpass/agent/explain/answer';
import { isServiceAddress, MeshpassError } from '@meshpass/identity';
import {
  fetchAgentStatus,
  formatMissingSignIns,
  listMissingSignIns,
  listRequestableGrants,
  requestLocalAgent,
} from '../agent/requests.ts';
import { formatRequestableGrants, opensPort } from '../approvals/text.ts';
import { defineCommand } from '../command/define.ts';
import { list, type OptionsOf, text, toggle, variadicArgument } from '../command/flag.ts';
import { type Answer, EXIT, printErrorLines } from '../command/outcome.ts';
import { AGENT_ENV, output } from '../command/shared-flags.ts';
import { formatLines } from '../diagnosis/print.ts';
import { formatWantedCall, parseWantedCall, type WantedCall } from '../explain/call.ts';
import { type Explanation, explainCall } from '../explain/explain-call.ts';
import { type AccessFiles, type Patch, type PatchInput, proposePatch, readAccessFiles } from '../explain/patch.ts';

const args = { url: variadicArgument('http://SERVICE.NAMESPACE:PORT/PATH, or tcp://SERVICE.NAMESPACE:PORT') };
const flags = {
  method: text('<method>', 'HTTP method', { default: 'GET' }),
  header: list('<line>', 'header of the request, "NAME: VALUE"'),
  last: toggle('explain the last request that was refused here, instead of a URL'),
  access: text('<file>', 'access file in a checkout to evaluate, with its lines', { env: 'MESHPASS_ACCESS' }),
  patch: toggle('with --access: print the smallest change that allows the call, as a diff for git apply'),
  grant: text('<name>', 'with --patch: the grant to change', { defaultText: 'the grant that serves the call' }),
  output,
};

export const command = defineCommand({
  about:
    'Queries the running agent without making the call. Prints, for each hop, whether the call passes and why. A workspace cannot see ' +
    'other policies in the mesh, and the answer says so.',
  args,
  flags,
  env: AGENT_ENV,
  exitCodes: {
    0: 'allowed by everything that Meshpass decides; with --patch: a change is proposed',
    1: 'refused',
    4: 'unknown: the answer depends on policies that this workspace cannot see',
  },
  examples: [
    'meshpass explain http://orders.shop:8080/orders/1',
    'meshpass explain http://orders.shop:8080/orders --method POST --access access.yaml',
    'meshpass explain --last',
    'meshpass explain http://orders.shop:8080/refunds --method POST --access access.yaml --patch | git apply',
  ],
  page: 'docs/agent.md',
  run: explain,
});

/**
 * Explains why a call is allowed or refused.
 * @throws MeshpassError `usage`, `agent_not_running`, `access_file_*`, `config_invalid`
 */
async function explain({ url, ...options }: OptionsOf<typeof args & typeof flags>): Promise<Answer> {
  const { call, request } = await wantedCall(url, options);
  const { protocol: _, ...wanted } = call;
  const known = await requestLocalAgent<ExplainResponse>({ command: 'explain', call: wanted });
  const files = options.access === undefined ? undefined : readAccessFiles(options.access, '--access');
  if (options.patch) return patchAnswer({ call, known, grant: options.grant }, files);
  if (options.grant !== undefined) throw new MeshpassError('usage', '--grant requires --patch.');
  const access = files?.access;
  const explanation = await explainCall({ call, known, access, resolves });
  const refused = explanation.verdict === 'refused';
  const offers = refused ? (await listRequestableGrants()).filter((one) => opensPort(one, call)) : [];
  const lacking = refused ? await listMissingSignIns() : [];
  return {
    json: { ...explainJson(explanation, request), requestable: offers, lacking_sign_ins: lacking },
    text: () => [
      ...formatExplanation(explanation, request),
      ...formatRequestableGrants(offers),
      ...formatMissingSignIns(lacking),
    ],
    exit: EXITS[explanation.verdict],
  };
}

/**
 * Proposes a change to the access file. Only the diff is written to standard output, so that it can be piped to git.
 * @throws MeshpassError `patch_refused`, `usage`
 */
function patchAnswer(input: Omit<PatchInput, 'files'>, files: AccessFiles | undefined): Answer {
  if (!files) throw new MeshpassError('usage', '--patch requires --access, the file to change.');
  const patch = proposePatch({ ...input, files });
  const text = () => {
    printErrorLines(...patchLines(patch, input.call));
    // Print the diff without escaping it, because git compares every character.
    process.stdout.write(patch.diff);
    return [];
  };
  return { json: patch, text };
}

/**
 * Returns the call to explain and, if it is the last refused one, its request ID, which also appears in the audit log.
 * @throws MeshpassError `usage`, `agent_not_running`, `not_found`
 */
async function wantedCall(
  urls: readonly string[],
  { last, method, header }: OptionsOf<typeof flags>,
): Promise<{ readonly call: WantedCall; readonly request?: string | undefined }> {
  if (!last) {
    if (urls.length !== 1) throw new MeshpassError('usage', 'Pass exactly one URL, or --last.');
    return { call: parseWantedCall(urls[0]!, method, header) };
  }
  if (method !== 'GET' || header.length > 0)
    throw new MeshpassError('usage', '--last uses the method of the refused request. Pass a URL for a different call.');
  if (urls.length > 0) throw new MeshpassError('usage', 'Pass either a URL or --last, not both.');
  const { refusals } = await fetchAgentStatus();
  const { call, request } = refusals.find((one) => one.call !== undefined) ?? {};
  if (!call) throw new MeshpassError('not_found', 'No request was refused here since the agent started. Pass a URL.');
  return { call: parseWantedCall(call.url, call.method, []), request };
}

/** Whether a host resolves to an address other than this workspace's own listeners. */
async function resolves(host: string): Promise<boolean> {
  const found = await lookup(host, { all: true }).catch(() => []);
  return found.some(({ address }) => !isServiceAddress(address));
}

/**
 * Formats the verdict, followed by a line for each hop.
 * @param request the ID of the refused request, if the explanation is about a specific request
 */
export function formatExplanation(
  { verdict, call, session, contact = 'your platform team', endpoint, grant, hops, beyond }: Explanation,
  request?: string,
): readonly string[] {
  const to = endpoint ?? `${call.host}:${call.port}`;
  const by = grant === undefined ? '' : `, by grant ${grant}`;
  const lines = hops.map(({ hop: check, verdict: state, reason: says, ...place }) => ({
    check,
    state,
    says,
    ...place,
  }));
  return [
    `${verdict}: ${formatWantedCall(call)} to ${to}${by}`,
    ...formatLines(lines, VERDICTS).map((line) => `  ${line}`),
    ...(beyond === undefined ? [] : [`  ${beyond}`]),
    ...(verdict === 'refused' || request !== undefined
      ? [`  for ${contact}: session ${session}${request === undefined ? '' : `, request ${request}`}`]
      : []),
  ];
}

const VERDICTS = { allowed: 'allowed', refused: 'refused', unknown: 'unknown' };
const EXITS = { allowed: EXIT.ok, refused: EXIT.failed, unknown: EXIT.unknown };

/** Describes a patch to the people who will review it. */
function patchLines({ grant, widens, holders, assumed }: Patch, call: WantedCall): readonly string[] {
  return [
    `With this change, grant ${grant} allows ${formatWantedCall(call)}: proven against the compiled policies.`,
    ...widens.map((what) => `widens: ${what}`),
    `for every holder of the grant: ${holders.join('; ')}`,
    ...assumed.map((what) => `assumed: ${what}`),
  ];
}

/** Converts an explanation into plain data for JSON output. */
export function explainJson({ call, ...explanation }: Explanation, request?: string): object {
  const { protocol, host, port, method, path } = call;
  const http = protocol === 'http' && { method, path: path.split('?')[0] };
  return { ...explanation, call: { protocol, host, port, ...http }, request };
}
