/** The few shapes that plots need, as SVG text: it renders on GitHub without a script, and nothing is fetched. */

/** Colour per series, also distinct without colour vision (Okabe and Ito). */
export const PALETTE = [
  '#0072B2',
  '#E69F00',
  '#009E73',
  '#CC79A7',
  '#56B4E9',
  '#D55E00',
  '#999999',
  '#F0E442',
] as const;
/** Colours on which white text is readable. */
const DARK: readonly string[] = ['#0072B2', '#009E73', '#D55E00'];

const LEGEND_ROW = 20;
const INK = '#24292f';
const GRID = '#d0d7de';
export const GOAL_COLOUR = '#cf222e';

export interface TextStyle {
  readonly anchor?: 'start' | 'middle' | 'end';
  readonly size?: number;
  readonly bold?: boolean;
  readonly colour?: string;
}

/** A whole picture on white, also readable on a dark page. @param title description for screen readers */
export function picture(width: number, height: number, title: string, shapes: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" font-family="system-ui, sans-serif">`,
    `<title>${asText(title)}</title>`,
    `<rect width="${width}" height="${height}" rx="6" fill="#ffffff"/>`,
    ...shapes,
    '</svg>',
    '',
  ].join('\n');
}

export function text(x: number, y: number, content: string, style: TextStyle = {}): string {
  const { anchor = 'start', size = 12, bold = false, colour = INK } = style;
  const weight = bold ? ' font-weight="600"' : '';
  return `<text x="${at(x)}" y="${at(y)}" font-size="${size}" text-anchor="${anchor}" fill="${colour}"${weight}>${asText(content)}</text>`;
}

export function bar(x: number, y: number, width: number, height: number, colour: string): string {
  return `<rect x="${at(x)}" y="${at(y)}" width="${at(width)}" height="${at(height)}" fill="${colour}"/>`;
}

/** A line of the grid. */
export function rule(x1: number, y1: number, x2: number, y2: number): string {
  return `<line x1="${at(x1)}" y1="${at(y1)}" x2="${at(x2)}" y2="${at(y2)}" stroke="${GRID}"/>`;
}

/** A curve through points, with a dot on each. */
export function curve(points: readonly (readonly [x: number, y: number])[], colour: string): string {
  const dots = points.map(([x, y]) => `<circle cx="${at(x)}" cy="${at(y)}" r="3" fill="${colour}"/>`);
  return [`<polyline points="${path(points)}" fill="none" stroke="${colour}" stroke-width="2"/>`, ...dots].join('');
}

/** Dashed, without dots. */
export function goal(points: readonly (readonly [x: number, y: number])[]): string {
  return `<polyline points="${path(points)}" fill="none" stroke="${GOAL_COLOUR}" stroke-width="1.5" stroke-dasharray="5 4"/>`;
}

/** Width of text on a bar. */
export function inkOn(colour: string): string {
  return DARK.includes(colour) ? '#ffffff' : INK;
}

/** Squares with names, in as many rows as they need. */
export function legend(
  [x, y]: readonly [x: number, y: number],
  width: number,
  names: readonly string[],
  colours: readonly string[],
): { readonly shape: string; readonly height: number } {
  let [left, top] = [x, y];
  const entries = names.map((name, index) => {
    const wide = 34 + name.length * 6.6;
    if (left > x && left + wide > x + width) [left, top] = [x, top + LEGEND_ROW];
    const entry = bar(left, top - 9, 10, 10, colours[index]!) + text(left + 15, top, name);
    left += wide;
    return entry;
  });
  return { shape: entries.join(''), height: top - y + LEGEND_ROW };
}

/** Round steps from 0 to at least `most`, four or five of them. */
export function ticks(most: number): readonly number[] {
  const raw = most / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= raw)!;
  return Array.from({ length: Math.ceil(most / step) + 1 }, (_, index) => index * step);
}

/** At most three significant digits. */
export function short(value: number): string {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return Number(value.toFixed(digits)).toLocaleString('en-US');
}

function path(points: readonly (readonly [x: number, y: number])[]): string {
  return points.map(([x, y]) => `${at(x)},${at(y)}`).join(' ');
}

function at(value: number): number {
  return Math.round(value * 10) / 10;
}

function asText(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
