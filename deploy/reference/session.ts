/** docs/images/session.svg: twenty seconds of the recorded quickstart, as a terminal that plays once. */
import { readFileSync } from 'node:fs';

const RECORDING = new URL('../../docs/recordings/quickstart.txt', import.meta.url);

const COLUMNS = 112;
const WIDTH = 920;
const LINE = 20;
const TOP = 34;
const LEFT = 18;

interface Excerpt {
  /** Beginning of its first line in the recording, without indentation and with single spaces. */
  readonly from: string;
  readonly lines: number;
  /** Seconds until the first line appears, and between lines. */
  readonly at: number;
  readonly pace: number;
}

/** Only outcomes that default settings also have. */
const EXCERPTS: readonly Excerpt[] = [
  { from: 'A Codespace starts', lines: 1, at: 0, pace: 0 },
  { from: '$ meshpass up', lines: 1, at: 0.8, pace: 0 },
  { from: '✓ identity attested by GitHub', lines: 1, at: 2, pace: 0 },
  { from: '✓ SVID signed by istiod', lines: 3, at: 2.8, pace: 0.7 },
  { from: 'First calls', lines: 1, at: 5.8, pace: 0 },
  { from: '$ curl -sS http://orders.shop:8080/whoami', lines: 3, at: 6.6, pace: 0.8 },
  { from: 'What is not granted', lines: 1, at: 10, pace: 0 },
  { from: '$ curl http://orders.shop:8080/admin/users', lines: 5, at: 10.8, pace: 0.4 },
  { from: '✓ the agent logged out', lines: 1, at: 15.2, pace: 0 },
  { from: '$ meshpass drill --rebuild', lines: 1, at: 16.6, pace: 0 },
  { from: '✓ dead edge: open HTTP/1.1', lines: 1, at: 18, pace: 0 },
  { from: '✓ dead certificate renewal:', lines: 1, at: 18.5, pace: 0 },
  { from: '✓ dead edge: SVID, a new tunnel', lines: 1, at: 19, pace: 0 },
];

/** Draws the excerpts of the recording. */
export function sessionDrawing(): string {
  const recorded = readFileSync(RECORDING, 'utf8').split('\n');
  const lines = EXCERPTS.flatMap(({ from, lines: count, at, pace }) => {
    const first = recorded.findIndex((line) => line.trim().replace(/ +/g, ' ').startsWith(from));
    if (first < 0) throw new Error(`The recording has no line that begins with "${from}".`);
    return recorded.slice(first, first + count).map((text, index) => ({ text, at: at + index * pace }));
  });
  const rows = lines.map(({ text, at }, index) => row(text, at, TOP + LINE * (index + 1)));
  const height = TOP + LINE * (lines.length + 1);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-labelledby="title">
  <title id="title">The recorded quickstart: a Codespace starts, a call is allowed, another refused, and after the stop the edge refuses the old credentials</title>
  <style>
    text { font: 13px ui-monospace, SFMono-Regular, Menlo, "DejaVu Sans Mono", monospace; fill: #c9d1d9; white-space: pre; }
    .step { fill: #f0f6fc; font-weight: 600; }
    .command { fill: #79c0ff; }
    .done { fill: #7ee787; }
    @media (prefers-reduced-motion: no-preference) {
      text { animation: appear 0.2s both; }
      @keyframes appear { from { opacity: 0; } to { opacity: 1; } }
    }
  </style>
  <rect width="${WIDTH}" height="${height}" rx="10" fill="#0d1117"/>
  <circle cx="22" cy="19" r="5.5" fill="#ff5f57"/><circle cx="41" cy="19" r="5.5" fill="#febc2e"/><circle cx="60" cy="19" r="5.5" fill="#28c840"/>
${rows.join('\n')}
</svg>
`;
}

function row(text: string, at: number, y: number): string {
  const narrow = text.replace(/ {3,}(\d+ ms)/, '  $1');
  const shown = narrow.length > COLUMNS ? `${narrow.slice(0, COLUMNS - 1)}…` : narrow;
  const kind = /^\S/.test(text) ? 'step' : /^ *\$ /.test(text) ? 'command' : /^ *✓/.test(text) ? 'done' : 'said';
  const escaped = shown.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  return `  <text class="${kind}" x="${LEFT}" y="${y}" style="animation-delay:${at.toFixed(1)}s" xml:space="preserve">${escaped}</text>`;
}
