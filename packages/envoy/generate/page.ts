/** Rewrites the tables of allow-list.md from the allow list: `npm run page -w @meshpass/envoy`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { FORMAT_COMMANDS } from '../src/allow/format.ts';
import { ALLOW_LIST } from '../src/allow/list.ts';

const PAGE = fileURLToPath(new URL('../allow-list.md', import.meta.url));
const BEGIN = '<!-- Written by `npm run page -w @meshpass/envoy`. -->';
const END = '<!-- End of the generated tables. -->';

/** Returns the tables of the page, as they are and as they must be. */
export function tablesOfPage(): { readonly written: string; readonly expected: string } {
  const page = readFileSync(PAGE, 'utf8');
  return { written: page.slice(page.indexOf(BEGIN), page.indexOf(END)), expected: `${BEGIN}\n\n${tables()}\n` };
}

function tables(): string {
  const rows = Object.entries(ALLOW_LIST)
    .filter(([type]) => type.startsWith('envoy.'))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([type, { free = '', fields = {}, whole }]) => {
      const names = [
        ...free.split(' ').filter((name) => name !== ''),
        ...Object.keys(fields).map((name) => `**${name}**`),
      ];
      return `| \`${type.slice('envoy.'.length)}\` | ${names.join(', ') || 'none'} | ${whole ? 'no' : 'yes'} |`;
    });
  const commands = FORMAT_COMMANDS.map((command) => `\`%${command}%\``).sort();
  return [
    '| Message | Accepted fields | May lose a part |',
    '| --- | --- | --- |',
    ...rows,
    '',
    commands.join(', '),
  ].join('\n');
}

if (import.meta.main) {
  const page = readFileSync(PAGE, 'utf8');
  const { written, expected } = tablesOfPage();
  writeFileSync(
    PAGE,
    page.replace(written, () => expected),
  );
}
