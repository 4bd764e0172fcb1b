/** Prints an exposure report as Markdown tables and a Mermaid graph, for use in a pull request comment. */

import { plainText } from '@meshpass/identity';
import type { ExposureEntry } from '../list.ts';
import { ACCESS_HEADINGS, type ExposureReport, UNUSED_TITLE } from './report.ts';
import {
  COLUMN_NAMES,
  COLUMNS,
  type Column,
  describeCounts,
  describeEntryCalls,
  describeEntryDestination,
  describeExposureEntry,
  describeLogCoverage,
  describeRules,
  pluralize,
} from './words.ts';

/**
 * The maximum number of table rows, and of characters in a cell. They keep a comment within GitHub's limit of 65,536
 * characters.
 */
const MAX_ROWS = 25;
const MAX_CELL = 200;
/** The maximum number of arrows in the graph, so that it remains readable. */
const MAX_ARROWS = 30;
const MAX_LABEL = 60;

/**
 * Prints tables of external, internal and unused access, and a graph that connects the entry points to their
 * destinations.
 * @example
 * ```ts
 * import { listExposures, printExposureMarkdown, reportOf } from '@meshpass/analysis/exposure';
 * const report = reportOf(listExposures([]), { objects: 0 });
 * printExposureMarkdown(report).split('\n')[0]; // => '## External access: 0 open, 0 unknown, 0 closed'
 * ```
 */
export function printExposureMarkdown(report: ExposureReport): string {
  const { external, internal, unused, notes, objects } = report;
  const sections = (['external', 'internal'] as const)
    .filter((of) => of === 'external' || Object.values(internal.counts).some((count) => count > 0))
    .flatMap((of) => [
      `## ${ACCESS_HEADINGS[of].title}: ${describeCounts(report[of], report)}`,
      '',
      ...table(report[of].ways, COLUMN_NAMES),
    ]);
  const lines = [
    ...sections,
    ...graph([...external.ways, ...internal.ways]),
    ...(unused
      ? [
          `## ${UNUSED_TITLE}: ${pluralize(unused.ways.length, 'external way')}`,
          '',
          ...describeLogCoverage(unused).flatMap((line) => [line, '']),
          ...table(unused.ways, ['calls', 'entry', 'destination', 'verdict', 'place']),
          ...describeRules(unused).flatMap(({ title, lines }) => [`### ${title}`, '', ...list(lines), '']),
        ]
      : []),
    ...notes.map((note) => `- ${inline(note)}`),
    ...(notes.length > 0 ? [''] : []),
    `${pluralize(objects, 'object')} read.`,
  ];
  return `${lines.join('\n')}\n`;
}

function list(lines: readonly string[]): readonly string[] {
  const left = lines.length - MAX_ROWS;
  return [...lines.slice(0, MAX_ROWS).map((line) => `- ${inline(line)}`), ...(left > 0 ? [`- and ${left} more`] : [])];
}

function table(ways: readonly ExposureEntry[], columns: readonly Column[]): readonly string[] {
  if (ways.length === 0) return [];
  const rowOf = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const rows = ways.slice(0, MAX_ROWS).map((way) => {
    const words = describeExposureEntry(way);
    return rowOf(columns.map((name) => (words[name] === way.verdict ? `**${way.verdict}**` : inline(words[name]))));
  });
  return [
    rowOf(columns.map((name) => COLUMNS[name])),
    rowOf(columns.map(() => '---')),
    ...rows,
    ...(ways.length > MAX_ROWS ? ['', `${ways.length - MAX_ROWS} more ways are not in this table.`] : []),
    '',
  ];
}

/**
 * Formats the text of a cell as code. Names in manifests are untrusted and must not turn into links or markup. The `|`
 * character must be escaped, because GitHub splits cells at it even inside code.
 */
function inline(text: string): string {
  const short = shortened(plainText(text).replace(/\s+/g, ' ').trim(), MAX_CELL);
  return `\`${short.replaceAll('`', "'").replaceAll('|', '\\|')}\``;
}

function shortened(text: string, most: number): string {
  const characters = [...text];
  return characters.length > most ? `${characters.slice(0, most - 1).join('')}…` : text;
}

interface Arrow {
  readonly from: string;
  readonly to: string;
  readonly verdict: ExposureEntry['verdict'];
  readonly calls: Set<string>;
}

/** Draws an arrow from each entry point to its destinations: thick for open, dotted for unknown, thin for closed. */
function graph(ways: readonly ExposureEntry[]): readonly string[] {
  const arrows = arrowsOf(ways);
  if (arrows.length === 0) return [];
  const shown = arrows.slice(0, MAX_ARROWS);
  const ids = new Map([...new Set(shown.flatMap(({ from, to }) => [from, to]))].map((node, at) => [node, `n${at}`]));
  const lines = shown.map(({ from, to, verdict, calls }) => {
    const [first = '', ...others] = calls;
    const more = others.length === 0 ? '' : ` and ${others.length} more`;
    return `  ${ids.get(from)} ${ARROWS[verdict]}|"${label(`${verdict}: ${first}`)}${more}"| ${ids.get(to)}`;
  });
  return [
    '```mermaid',
    'flowchart LR',
    ...[...ids].map(([node, id]) => `  ${id}["${label(node.slice(node.indexOf(' ') + 1))}"]`),
    ...lines,
    '```',
    '',
    ...(arrows.length > MAX_ARROWS ? [`${arrows.length - MAX_ARROWS} more arrows are not in this graph.`, ''] : []),
  ];
}

const ARROWS = { open: '==>', unknown: '-.->', closed: '-->' } as const;

function arrowsOf(ways: readonly ExposureEntry[]): readonly Arrow[] {
  const arrows = new Map<string, Arrow>();
  for (const way of ways) {
    // The prefixes keep an entry point and a destination with the same name apart, so that they remain separate nodes.
    const [from, to] = [`entry ${way.entry.description}`, `destination ${describeEntryDestination(way)}`];
    const key = `${way.verdict}\n${from}\n${to}`;
    const arrow = arrows.get(key) ?? { from, to, verdict: way.verdict, calls: new Set() };
    arrow.calls.add(describeEntryCalls(way));
    arrows.set(key, arrow);
  }
  return [...arrows.values()];
}

/**
 * Formats a label for Mermaid. Unsafe characters are encoded as entities, so that a name cannot close the label or add
 * markup.
 */
function label(text: string): string {
  return [...shortened(plainText(text), MAX_LABEL)]
    .map((one) => (/[A-Za-z0-9 .,:/()_-]/.test(one) ? one : `#${one.codePointAt(0)};`))
    .join('');
}
