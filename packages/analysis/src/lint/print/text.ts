/** Prints findings for a terminal, together with the source line and a caret that points to the problem. */
import { type Line, memoize, terminalText } from '@meshpass/identity';
import type { LintedFiles } from '../lint.ts';
import { type Finding, objectName } from '../model.ts';
import { describeAcceptance } from '../suppression.ts';
import { listRemarks, remarkTitle } from './remarks.ts';

export interface TextOptions {
  /** The contents of files by name. For findings in other files, no source line is printed. */
  readonly sources: ReadonlyMap<string, string>;
  readonly colour: boolean;
}

const WIDTH = 110;
const COLOURS = { error: '31', warning: '33', note: '36' } as const;

/**
 * Prints findings for a terminal, together with the source line and a caret that points to the problem.
 * @example
 * ```ts
 * import { lintFiles, printText } from '@meshpass/analysis/lint';
 * const text = `apiVersion: security.istio.io/v1
 * kind: AuthorizationPolicy
 * metadata: {name: orders, namespace: shop}
 * spec: {rules: [{to: [{operation: {methods: [get]}}]}]}`;
 * const linted = lintFiles([{ name: 'orders.yaml', text }], { now: Date.now() });
 * printText(linted, { sources: new Map([['orders.yaml', text]]), colour: false }).includes('MP312'); // => true
 * ```
 */
export function printText(linted: Omit<LintedFiles, 'problems'>, { sources, colour }: TextOptions): string {
  const { findings, suppressed, gone, objects } = linted;
  const linesOf = memoize((file: string) => sources.get(file)?.split(/\r?\n/), new Map());
  const out: Line[] = [];
  for (const finding of findings) {
    const { place, severity, code, name, message, fix, page } = finding;
    const at = place.line > 0 ? `${place.file}:${place.line}:${place.column}` : place.file;
    out.push([
      { text: at, colour: '1' },
      ' ',
      { text: severity, colour: COLOURS[severity] },
      ` ${code} ${name} ${objectName(finding)}`.trimEnd(),
    ]);
    for (const line of wrap(message)) out.push(`  ${line}`);
    const text = linesOf(place.file)?.[place.line - 1];
    if (text !== undefined) out.push('', ...excerpt(text, place.line, place.column, COLOURS[severity]), '');
    for (const [index, line] of wrap(`fix: ${fix}`).entries()) out.push(`  ${index === 0 ? '' : '     '}${line}`);
    out.push(`  see ${page}`, '');
  }
  const declared = suppressed.filter(({ suppressedBy }) => suppressedBy.owner !== undefined);
  const remarks = [
    ...declared.map((one) => `accepted: ${one.code} ${objectName(one)}: ${describeAcceptance(one)}`),
    ...gone.map(({ code, object, message }) => `gone: ${code} ${object}: ${message}`),
    ...listRemarks(linted).map((one) => `${remarkTitle(one)}: ${one.detail}`),
  ];
  out.push(...remarks.flatMap(wrap));
  out.push(summary(findings, suppressed.length, objects));
  return `${terminalText(out, { colour })}\n`;
}

function summary(findings: readonly Finding[], suppressed: number, objects: number): string {
  const of = (severity: Finding['severity']) =>
    counted(findings.filter((one) => one.severity === severity).length, severity);
  const hidden = suppressed === 0 ? '' : `, ${suppressed} suppressed`;
  return `${counted(objects, 'object')}: ${of('error')}, ${of('warning')}, ${of('note')}${hidden}`;
}

function counted(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

/** Formats the source line of a finding. Long lines are cut to the text around the caret. */
function excerpt(line: string, number: number, column: number, colour: string): readonly Line[] {
  const from = column > WIDTH ? column - Math.floor(WIDTH / 2) : 0;
  const shown = line.slice(from, from + WIDTH).replaceAll(/[\p{Cc}\p{Cf}]/gu, ' ');
  const margin = String(number);
  return [
    `  ${margin} | ${shown}`,
    [`  ${' '.repeat(margin.length)} | ${' '.repeat(Math.max(0, column - 1 - from))}`, { text: '^', colour }],
  ];
}

function wrap(text: string): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.replaceAll(/[\p{Cc}\p{Cf}]/gu, ' ').split(' ')) {
    if (line !== '' && line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
