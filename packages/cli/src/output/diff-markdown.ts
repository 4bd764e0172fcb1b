/**
 * Formats a comparison as Markdown for a pull request comment. It shows which calls become possible, which become
 * impossible, and which are unknown.
 */
import {
  type Comparison,
  formatChange,
  formatOutsideChange,
  formatWhere,
  type OutsideComparison,
} from '@meshpass/analysis/diff';
import { terminalText } from '@meshpass/identity/text';
import { formatAssumptions } from './decision-text.ts';

/** The maximum number of entries per section and characters per line, to keep comments within GitHub's size limit. */
const MAX_ENTRIES = 25;
const MAX_LINE = 300;

/** Additional notes about a comparison. */
export interface DiffNotes {
  /** Describes the objects that have no namespace. */
  readonly unplaced: string | undefined;
  /** Describes the skipped files that might affect the result. */
  readonly unread: string | undefined;
}

/**
 * Formats the differences as code blocks. The names in manifests are untrusted, so they must not be interpreted as
 * markup or mentions.
 */
export function diffMarkdown(
  { changes, more, endpoints, unknown, assumed }: Comparison,
  outside: OutsideComparison,
  { unplaced, unread }: DiffNotes,
): string {
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
