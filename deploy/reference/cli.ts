/** docs/cli.md, the reference of the command line, from the definitions of the commands. */
import type { Command } from '@meshpass/cli/command/define';
import { type Flag, longFlag } from '@meshpass/cli/command/flag';
import { EXIT_CODES } from '@meshpass/cli/command/outcome';
import { listLeafCommands, type Node } from '@meshpass/cli/command/tree';
import { TREE } from '@meshpass/cli/program';

const INTRODUCTION = `# The command line

Generated from the definitions of the commands by \`npm run reference\`; do not edit. \`meshpass COMMAND --help\` prints the same.

Conventions, for every command:

- Output goes to standard output, errors and progress to standard error. An error is one line that ends with its
  \`[code]\`, and unless an argument or a setting is wrong, a second one with the address that [explains it](troubleshooting.md). With \`--output json\` it is an object with \`error_code\` and
  \`error_description\`.
- Exit codes: ${exitCodes(EXIT_CODES)}.
  A command with other meanings lists them. Code 4 means that a question about policy cannot be answered, because a deciding policy
  cannot be evaluated ([evaluator](evaluator.md)).
- A bare \`meshpass\` or group (\`meshpass policy\`) prints its help and exits with 0.
- \`--output json\` prints one JSON document; \`audit tail\` prints one per row and line. \`audit export\` prints the
  lines that \`--form\` names in any case. Members are in \`snake_case\`. Some older members are there in
  \`camelCase\` too, with the same values: in \`up\`, \`status\`, \`policy lint\`, \`audit verify\` and \`audit accept-restore\`.
- \`--operator\` is the origin of the broker's operator listener, and \`--broker\` the broker's public URL.
- A flag wins over its environment variable. An empty environment variable counts as not set.
- Times are in seconds, unless the flag says otherwise.
`;

/** Returns the whole page, with the headings of `meshpass --help`. */
export async function reference(): Promise<string> {
  const users = Map.groupBy(Object.entries(TREE.children), ([, { heading }]) => heading!);
  const parts = await Promise.all([...users].map(([heading, children]) => part(heading, children)));
  return [INTRODUCTION, ...parts.map(({ contents }) => contents), ...parts.map(({ sections }) => sections)].join('\n');
}

async function part(heading: string, children: readonly (readonly [string, Node])[]) {
  const commands = children.flatMap(([name, child]) => listLeafCommands(child, [name]));
  const rows = commands.map(([path, { summary }]) => {
    const name = ['meshpass', ...path].join(' ');
    return `| [\`${name}\`](#${name.replaceAll(' ', '-')}) | ${summary} |`;
  });
  const sections = commands.map(async ([path, { summary, load }]) =>
    section(['meshpass', ...path].join(' '), summary, (await load()).command),
  );
  return {
    contents: [`| ${heading} | |`, '| --- | --- |', ...rows, ''].join('\n'),
    sections: [`## ${heading}`, '', ...(await Promise.all(sections))].join('\n'),
  };
}

function section(name: string, summary: string, command: Command): string {
  const args = Object.entries(command.args).map(([arg, { isRequired, isVariadic }]) => {
    const word = isVariadic ? `${arg}...` : arg;
    return isRequired ? `<${word}>` : `[${word}]`;
  });
  const page = command.page.replace('docs/', '');
  return [
    `### ${name}`,
    '',
    [summary, command.about, `More: [${page}](${page}).`].filter((one) => one !== undefined).join(' '),
    '',
    `    ${[name, '[options]', ...args].join(' ')}`,
    '',
    '| | | Default | Environment |',
    '| --- | --- | --- | --- |',
    ...Object.entries(command.args).map(([arg, one]) => `| \`${arg}\` | ${one.summary} | | |`),
    ...Object.entries(command.flags).map(([flag, one]) => flagRow(flag, one)),
    ...Object.entries(command.env).map(([variable, meaning]) => `| | ${meaning} | | \`${variable}\` |`),
    '',
    ...(Object.keys(command.exitCodes).length > 0
      ? [`Exit codes: ${exitCodes({ ...EXIT_CODES, ...command.exitCodes })}.`, '']
      : []),
    ...command.examples.map((line) => `    ${line}`),
    '',
  ].join('\n');
}

function flagRow(name: string, flag: Flag<unknown>): string {
  const typed = [longFlag(name, flag), flag.value].filter((one) => one !== undefined).join(' ');
  const choices = flag.choices ? `: ${flag.choices.map((one) => `\`${one}\``).join(', ')}` : '';
  const byDefault = flag.isRequired
    ? '**required**'
    : (flag.defaultText ?? (flag.default === undefined ? '' : `\`${flag.default}\``));
  const env = flag.env === undefined ? '' : `\`${flag.env}\``;
  return `| \`${typed}\` | ${flag.summary}${choices} | ${byDefault} | ${env} |`;
}

function exitCodes(meanings: Command['exitCodes']): string {
  return Object.entries(meanings)
    .map(([code, meaning]) => `${code} ${meaning}`)
    .join('; ');
}
