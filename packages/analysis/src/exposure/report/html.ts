/** Prints an exposure report as a single HTML page that uses no scripts and no external resources. */

import { createHash } from 'node:crypto';
import { plainText } from '@meshpass/identity';
import type { ExposureEntry } from '../list.ts';
import { ACCESS_HEADINGS, type ExposureReport, UNUSED_TITLE } from './report.ts';
import {
  COLUMN_NAMES,
  COLUMNS,
  type Column,
  describeCounts,
  describeExposureEntry,
  describeLogCoverage,
  describeRules,
  pluralize,
} from './words.ts';

const STYLE = `
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 110rem; padding: 0 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0 2rem; width: 100%; }
caption { font-weight: bold; padding: .5rem 0; text-align: start; }
th, td { border: 1px solid GrayText; min-width: 5rem; padding: .4rem .6rem; text-align: start; vertical-align: top; }
td { max-width: 22rem; overflow-wrap: anywhere; }
td.open, td.unknown { font-weight: bold; }
td.open { border-inline-start: .4rem solid #c62828; }
td.unknown { border-inline-start: .4rem dashed #b26a00; }
td.closed { border-inline-start: .4rem double #2e7d32; }
code { font-family: ui-monospace, monospace; }
`;
const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64');
const POLICY = `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; base-uri 'none'; form-action 'none'`;

/**
 * Prints an exposure report as an HTML page. Verdicts are spelled out, so that readers do not have to rely on colours.
 * Text from manifests is escaped, and a Content-Security-Policy blocks scripts, images and connections.
 * @example
 * ```ts
 * import { listExposures, printExposureHtml, reportOf } from '@meshpass/analysis/exposure';
 * const report = reportOf(listExposures([]), { objects: 0 });
 * printExposureHtml(report).startsWith('<!doctype html>'); // => true
 * ```
 */
export function printExposureHtml(report: ExposureReport): string {
  const { external, internal, unused, notes, objects } = report;
  const section = (of: keyof typeof ACCESS_HEADINGS) => html`
<section>
<h2>${ACCESS_HEADINGS[of].title}</h2>
<p>${capitalized(ACCESS_HEADINGS[of].about)}: ${describeCounts(report[of], report)}.</p>
${table(`${ACCESS_HEADINGS[of].title}, open ways first`, report[of].ways)}
</section>`;
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>Exposure: ${external.counts.open} open, ${external.counts.unknown} unknown from outside</title>
<style>${rawHtml(STYLE)}</style>
</head>
<body>
<main>
<h1>Exposure of the mesh</h1>
<p>${pluralize(objects, 'object')} read: ${external.counts.open + internal.counts.open} open,
${external.counts.unknown + internal.counts.unknown} unknown,
${external.counts.closed + internal.counts.closed} closed ways. Callers have no token and no certificate.</p>
${notes.length === 0 ? [] : html`<section><h2>Notes</h2><ul>${notes.map((note) => html`<li>${plainText(note)}</li>`)}</ul></section>`}
${section('external')}
${section('internal')}
${
  unused
    ? html`
<section>
<h2>${UNUSED_TITLE}</h2>
${describeLogCoverage(unused).map((line) => html`<p>${line}</p>`)}
${table(`${UNUSED_TITLE}: ${pluralize(unused.ways.length, 'external way')} that no line uses`, unused.ways)}
${describeRules(unused).map(({ title, lines }) => html`<h3>${title}</h3><ul>${lines.map((line) => html`<li>${line}</li>`)}</ul>`)}
</section>`
    : []
}
</main>
</body>
</html>
`;
  return page.markup;
}

function table(caption: string, ways: readonly ExposureEntry[]): SafeHtml {
  if (ways.length === 0) return html`<p>None is listed.</p>`;
  // A region that scrolls must be focusable, so that it can be scrolled with the keyboard.
  return html`<div class="scroll" role="region" tabindex="0" aria-label="${caption}">
<table>
<caption>${caption}</caption>
<thead><tr>${COLUMN_NAMES.map((name) => html`<th scope="col">${COLUMNS[name]}</th>`)}</tr></thead>
<tbody>
${ways.map(row)}
</tbody>
</table>
</div>`;
}

function row(way: ExposureEntry): SafeHtml {
  const words = describeExposureEntry(way);
  const cells = COLUMN_NAMES.map((name) =>
    name === 'verdict'
      ? html`<td class="${way.verdict}">${words.verdict}</td>`
      : CODE.has(name)
        ? html`<td><code>${words[name]}</code></td>`
        : html`<td>${words[name]}</td>`,
  );
  return html`<tr>${cells}</tr>
`;
}

const CODE: ReadonlySet<Column> = new Set(['witness', 'place', 'destination']);

function capitalized(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}

/** HTML that is safe to insert without escaping. */
interface SafeHtml {
  readonly markup: string;
}

type Value = string | number | SafeHtml | readonly SafeHtml[];

/**
 * Builds HTML from a template. Strings are escaped so that they can be used as element content and inside double-quoted
 * attribute values.
 * @example
 *   html`<p>${'<script>'}</p>`.markup; // => '<p>&lt;script&gt;</p>'
 */
export function html(parts: TemplateStringsArray, ...values: readonly Value[]): SafeHtml {
  return { markup: parts.reduce((text, part, at) => `${text}${formatValue(values[at - 1]!)}${part}`) };
}

/** Marks constant text as safe HTML. The text itself is not escaped. */
function rawHtml(text: string): SafeHtml {
  return { markup: text };
}

function formatValue(value: Value): string {
  if (typeof value === 'string') return value.replace(/[&<>"']/g, (one) => ENTITIES[one]!);
  if (typeof value === 'number') return String(value);
  return 'markup' in value ? value.markup : value.map(({ markup }) => markup).join('');
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
