import {
  type Comparison,
  compareMeaning,
  compareOutside,
  formatChange,
  formatOutsideChange,
  formatWhere,
  type OutsideComparison,
  type OutsideDecision,
} from '@meshpass/analysis/diff';
import { terminalText } from '@meshpass/identity';
import { describeUnplaced, findMeshConfig } from '@meshpass/istio';
import { defineCommand } from '../../command/define.ts';
import { argument, choice, list, type OptionsOf, toggle } from '../../command/flag.ts';
import { type Answer, EXIT, type ExitCode } from '../../command/outcome.ts';
import { namespace } from '../../command/shared-flags.ts';
import { readManifests } from '../../input/policy-input.ts';
import { assumptionJson, formatAssumptions } from '../../output/decision-text.ts';

const args = { before: argument('file or directory of manifests'), after: argument('file or directory of manifests') };
const flags = {
  context: list('<path>', 'manifests of Services and workloads that both sides share'),
  namespace,
  exitCode: toggle('exit with 1 if the meaning differs'),
  output: choice(['text', 'json', 'markdown'], 'output format', { value: '<format>', default: 'text' }),
};

export const command = defineCommand({
  about: 'The comparison is exact, and shows an example of each difference.',
  args,
  flags,
  exitCodes: {
    0: 'compared; with --exit-code: no difference',
    1: 'failed; with --exit-code: there are differences',
    4: 'unknown for some calls: a deciding policy cannot be evaluated',
  },
  examples: [
    'meshpass policy diff before/ after/ --exit-code',
    'meshpass policy diff --context services.yaml before.yaml after.yaml',
  ],
  page: 'docs/policy.md',
  run: diffPolicy,
});

/**
 * Compares the calls that two sets of manifests allow.
 * @throws MeshpassError `usage`, `manifest_*`, `policy_too_large`
 */
async function diffPolicy({ before, after, ...options }: OptionsOf<typeof args & typeof flags>): Promise<Answer> {
  const read = (paths: readonly string[]) => readManifests(paths, options.namespace);
  const context = await read(options.context);
  const [old, next] = [await read([before]), await read([after])];
  const unreads = new Set([context, old, next].flatMap((side) => side.unread ?? []));
  const unread = unreads.size === 0 ? undefined : [...unreads].join('; ');
  const [was, is] = [
    [...context.resources, ...old.resources],
    [...context.resources, ...next.resources],
  ];
  const { authorizers, ...config } = findMeshConfig(is);
  // If the manifests do not include the mesh configuration, any external authorizer could be configured.
  const settings = { ...config, ...(config.isRead && { authorizers }) };
  const hidden = unread !== undefined && { unread };
  const diff: Diff = {
    ...compareMeaning(was, is, settings, { ...hidden }),
    outside: compareOutside(was, is, { rootNamespace: settings.rootNamespace, ...hidden }),
    unplaced: describeUnplaced([...was, ...is]),
    unread,
  };
  const text = () => (options.output === 'markdown' ? diffMarkdown(diff) : diffText(diff));
  return { json: diffJson(diff), text, exit: exitCodeOf(diff, options.exitCode) };
}

/** Compares the calls inside the mesh and those from outside. */
interface Diff extends Comparison {
  readonly outside: OutsideComparison;
  /** Describes the objects that have no namespace. */
  readonly unplaced: string | undefined;
  /** Describes the skipped files that might affect the result. */
  readonly unread: string | undefined;
}

function exitCodeOf({ changes, unknown, outside, unread }: Diff, failsIfDifferent: boolean): ExitCode {
  const isUnread = unread !== undefined;
  const differs = changes.length > 0 || outside.changes.length > 0;
  if (!isUnread && failsIfDifferent && differs) return EXIT.failed;
  return isUnread || unknown.length > 0 || outside.unknown.length > 0 ? EXIT.unknown : EXIT.ok;
}

function diffJson({ changes, more, endpoints, unknown, assumed, outside, unplaced }: Diff): object {
  return {
    changes: changes.map(({ kind, who, what, circumstances, where, before, after }) => {
      return { kind, who, what, circumstances, where: formatWhere(where), before: before.reason, after: after.reason };
    }),
    more,
    endpoints,
    unknown: unknown.map(({ reason, where }) => ({ reason, where: formatWhere(where) })),
    ...assumptionJson(assumed, unplaced),
    outside: outsideJson(outside),
  };
}

function diffText(diff: Diff): readonly string[] {
  const { changes, more, endpoints, unknown, assumed, outside, unplaced, unread } = diff;
  const same =
    unknown.length === 0
      ? `The same calls are allowed: ${endpoints} ports were compared.`
      : `On the ${endpoints} compared ports, the same calls are allowed.`;
  return [
    // If no port is listed as unknown, the files that were skipped have to be reported here.
    ...(unread !== undefined && unknown.length === 0 ? [`unknown: ${unread}`, ''] : []),
    ...(outside.destinations > 0 ? ['What policies at workloads allow:', ''] : []),
    ...unknown.flatMap(({ reason, where }) => [`unknown on ${formatWhere(where)}`, `  ${reason}`, '']),
    ...(changes.length > 0 ? changes.map(formatChange).join('\n\n').split('\n') : [same]),
    ...(more ? ['', 'There are more differences. These are the largest at each endpoint.'] : []),
    ...formatAssumptions(assumed, unplaced),
    ...(outside.destinations > 0 ? outsideLines(outside) : []),
  ];
}

function outsideJson({ changes, ...rest }: OutsideComparison) {
  const decision = ({ reached, reason, place }: OutsideDecision) => ({
    reached,
    reason,
    ...(place && { file: place.file, line: place.line }),
  });
  const listed = changes.map(({ before, after, ...change }) => ({
    ...change,
    before: decision(before),
    after: decision(after),
  }));
  return { equivalent: changes.length === 0 && rest.unknown.length === 0, changes: listed, ...rest };
}

function outsideLines({ changes, more, destinations, unknown, moved, assumed }: OutsideComparison): readonly string[] {
  const same =
    unknown.length > 0
      ? 'For every other destination, they reach the same.'
      : `Equivalent: ${destinations} destination${destinations === 1 ? ' was' : 's were'} compared.`;
  return [
    ...['', 'What anonymous callers from outside reach:', ''],
    ...unknown.flatMap(({ destination, reasons }) => [
      `unknown for ${destination}`,
      ...reasons.map((reason) => `  ${reason}`),
      '',
    ]),
    ...(changes.length > 0 ? changes.map(formatOutsideChange).join('\n\n').split('\n') : [same]),
    ...(more ? ['', 'There are more differences.'] : []),
    ...moved.map((one) => `Other Pods or ports answer at ${one.destination}: ${one.changes.join('; ')}.`),
    ...assumed.map((reason) => `Assumed to let every call through: ${reason}.`),
  ];
}

/** The maximum number of entries per section and characters per line, to keep comments within GitHub's size limit. */
const MAX_ENTRIES = 25;
const MAX_LINE = 300;

/**
 * Formats a comparison as Markdown for a pull request comment: which calls become possible, which become impossible,
 * and which are unknown. They are in code blocks: the names in manifests are untrusted, so they must not be interpreted as
 * markup or mentions.
 */
function diffMarkdown(diff: Diff): string {
  const { changes, more, endpoints, unknown, assumed, outside, unplaced, unread } = diff;
  const of = (kind: 'gains' | 'loses') => [
    ...outside.changes.filter((one) => one.kind === kind).map(formatOutsideChange),
    ...changes.filter((one) => one.kind === kind).map(formatChange),
  ];
  const doubtful = [
    ...outside.unknown.map(({ destination, reasons }) =>
      terminalText([`calls from outside to ${destination}`, ...reasons.map((reason) => `  ${reason}`)]),
    ),
    ...unknown.map(({ reason, where }) => terminalText([`calls at ${formatWhere(where)}`, `  ${reason}`])),
  ];
  // If no port or destination is listed as unknown, the files that were skipped have to be reported here.
  if (unread !== undefined && doubtful.length === 0) doubtful.push(terminalText(['calls', `  ${unread}`]));
  const [opens, closes] = [of('gains'), of('loses')];
  const compared = `${counted(endpoints, 'port')} and ${counted(outside.destinations, 'destination')} of calls from outside were compared`;
  const notes = [
    ...(more || outside.more ? ['There are more differences. These are the largest.'] : []),
    ...outside.moved.map((one) => `Other Pods or ports answer at ${one.destination}: ${one.changes.join('; ')}.`),
    ...outside.assumed.map((reason) => `Assumed to let every call through: ${reason}.`),
    ...formatAssumptions(assumed, unplaced),
  ].filter((note) => note !== '');
  return [
    `**${opens.length} opened, ${closes.length} closed, ${doubtful.length} unknown**: ${compared}.`,
    ...section('Opens', opens),
    ...section('Closes', closes),
    ...section('Unknown', doubtful),
    ...(notes.length > 0 ? ['', ...block(notes.map((note) => terminalText([note])))] : []),
  ].join('\n');
}

function section(title: string, entries: readonly string[]): readonly string[] {
  if (entries.length === 0) return [];
  const left = entries.length - MAX_ENTRIES;
  return [
    ...['', `#### ${title}`, ''],
    ...block([entries.slice(0, MAX_ENTRIES).join('\n\n')]),
    ...(left > 0 ? ['', `${left} more are not listed.`] : []),
  ];
}

/**
 * Formats lines as a code block. The fence is longer than any sequence of backticks in the text, so that the text
 * cannot end the block.
 */
function block(texts: readonly string[]): readonly string[] {
  const lines = texts.flatMap((text) => text.split('\n')).map(shortened);
  const fence = '`'.repeat(
    Math.max(3, ...lines.flatMap((line) => line.match(/`+/g) ?? []).map((run) => run.length + 1)),
  );
  return [`${fence}text`, ...lines, fence];
}

function shortened(line: string): string {
  const characters = [...line];
  return characters.length > MAX_LINE ? `${characters.slice(0, MAX_LINE - 1).join('')}…` : line;
}

function counted(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
