/** Prints an exposure report for the terminal. */

import { type ColouredText, type Line, terminalText } from '@meshpass/identity';
import type { ExposureEntry } from '../list.ts';
import { ACCESS_HEADINGS, type Access, type ExposureReport, UNUSED_TITLE } from './report.ts';
import {
  COLUMNS,
  type Column,
  describeCounts,
  describeExposureEntry,
  describeLogCoverage,
  describeRules,
  pluralize,
} from './words.ts';

const COLOURS = { open: '31', unknown: '33', closed: '32' } as const;
const WIDTH = Math.max(...Object.values(COLUMNS).map(({ length }) => length));

export interface TableOptions {
  readonly colour: boolean;
}

/**
 * Prints an exposure report with one field per line, because a row that contains all columns would be wider than most
 * terminals.
 * @example
 * ```ts
 * import { listExposures, printExposureTable, reportOf } from '@meshpass/analysis/exposure';
 * const report = reportOf(listExposures([]), { objects: 0 });
 * printExposureTable(report, { colour: false }).split('\n')[0]; // => 'External access: 0 open, 0 unknown, 0 closed'
 * ```
 */
export function printExposureTable(report: ExposureReport, { colour }: TableOptions): string {
  const { unused, objects, notes } = report;
  const rows = ({ verdict, ...way }: ReturnType<typeof describeExposureEntry>, code: string): readonly Line[] => [
    '',
    row('verdict', { text: verdict, colour: code }),
    ...Object.entries(way).map(([name, text]) => row(name as Column, text)),
  ];
  const waysOf = (ways: readonly ExposureEntry[]) =>
    ways.flatMap((way) => rows(describeExposureEntry(way), COLOURS[way.verdict]));
  const section = (of: keyof typeof ACCESS_HEADINGS): readonly Line[] => {
    const { counts, ways }: Access = report[of];
    if (of === 'internal' && Object.values(counts).every((count) => count === 0)) return [];
    return [
      heading(`${ACCESS_HEADINGS[of].title}: ${describeCounts(report[of], report)}`),
      `  ${ACCESS_HEADINGS[of].about}`,
      ...waysOf(ways),
      '',
    ];
  };
  const lines: readonly Line[] = [
    ...section('external'),
    ...section('internal'),
    ...(unused
      ? [
          heading(`${UNUSED_TITLE}: ${pluralize(unused.ways.length, 'external way')}`),
          ...describeLogCoverage(unused).map((line) => `  ${line}`),
          ...waysOf(unused.ways),
          '',
          ...describeRules(unused).flatMap(({ title, lines }) => [
            heading(title),
            ...lines.map((line) => `  ${line}`),
            '',
          ]),
        ]
      : []),
    ...notes.map((note) => `note: ${note}`),
    `${pluralize(objects, 'object')} read`,
  ];
  return `${terminalText(lines, { colour })}\n`;
}

function heading(text: string): Line {
  return [{ text, colour: '1' }];
}

function row(name: Column, text: string | ColouredText): Line {
  return [`  ${COLUMNS[name].padEnd(WIDTH)}  `, text];
}
