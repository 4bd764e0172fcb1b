/** Prints a report about exposure for a terminal. */

import { type Line, type Painted, terminalText } from '@meshpass/identity/text';
import type { ExposureEntry } from '../list.ts';
import { ACCESS, type Access, type ExposureReport, RULES_TITLE, UNUSED_TITLE } from './report.ts';
import type { UnusedAccess } from './unused.ts';
import { COLUMNS, counted, describeCounts, describeLogs, describeRules, describeWay, type WayWords } from './words.ts';

const COLOURS = { open: '31', unknown: '33', closed: '32' } as const;
const WIDTH = Math.max(...Object.values(COLUMNS).map(({ length }) => length));

export interface TableOptions {
  readonly colour: boolean;
}

/**
 * Prints the ways one below the other, because their columns together are wider than a terminal.
 * @example
 * ```ts
 * import { listExposures, printExposureTable, reportOf } from '@meshpass/analysis/exposure';
 * const report = reportOf(listExposures([]), { objects: 0 });
 * printExposureTable(report, { colour: false }).split('\n')[0]; // => 'External access: 0 open, 0 unknown, 0 closed'
 * ```
 */
export function printExposureTable(report: ExposureReport, { colour }: TableOptions): string {
  const { unused, objects, notes } = report;
  const rows = ({ verdict, ...way }: WayWords, code: string): readonly Line[] => [
    '',
    row('verdict', { text: verdict, colour: code }),
    ...Object.entries(way).map(([name, text]) => row(name as keyof WayWords, text)),
  ];
  const waysOf = (ways: readonly ExposureEntry[]) =>
    ways.flatMap((way) => rows(describeWay(way), COLOURS[way.verdict]));
  const section = (of: keyof typeof ACCESS): readonly Line[] => {
    const { counts, ways }: Access = report[of];
    if (of === 'internal' && Object.values(counts).every((count) => count === 0)) return [];
    return [
      heading(`${ACCESS[of].title}: ${describeCounts(report[of], report)}`),
      `  ${ACCESS[of].about}`,
      ...waysOf(ways),
      '',
    ];
  };
  const lines: readonly Line[] = [
    ...section('external'),
    ...section('internal'),
    ...(unused
      ? [
          heading(`${UNUSED_TITLE}: ${counted(unused.ways.length, 'external way')}`),
          ...describeLogs(unused).map((line) => `  ${line}`),
          ...waysOf(unused.ways),
          '',
          ...rulesOf(unused),
        ]
      : []),
    ...notes.map((note) => `note: ${note}`),
    `${counted(objects, 'object')} read`,
  ];
  return `${terminalText(lines, { colour })}\n`;
}

function rulesOf(unused: UnusedAccess): readonly Line[] {
  const rules = describeRules(unused);
  return (['unused', 'unknown'] as const).flatMap((of) =>
    rules[of].length === 0 ? [] : [heading(RULES_TITLE[of]), ...rules[of].map((line) => `  ${line}`), ''],
  );
}

function heading(text: string): Line {
  return [{ text, colour: '1' }];
}

function row(name: keyof WayWords, text: string | Painted): Line {
  return [`  ${COLUMNS[name].padEnd(WIDTH)}  `, text];
}
