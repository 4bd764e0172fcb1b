/** `meshpass policy`: its subcommands, each loaded when it is called. */
import { type Command, Option } from 'commander';

export function policyCommands(program: Command): void {
  const policy = program.command('policy').description('check, test, compare and apply what guards the mesh');
  lintCommand(policy);
}

function lintCommand(policy: Command): void {
  const many = (value: string, before: readonly string[]) => [...before, value];
  const command = policy
    .command('lint')
    .description('say what is open that should not be, by name, file and line; docs/lint.md explains each finding')
    .argument('[paths...]', 'files and directories of manifests; - is standard input')
    .addHelpText(
      'after',
      '\nExit codes: 0 nothing found, 1 a finding at or above --fail-on, 2 wrong flags or unreadable input, 3 the cluster does not answer.',
    );
  for (const option of [
    new Option('--kubeconfig <file>', 'look at a live cluster'),
    new Option('--access <file>', 'access file, to know what is granted').env('MESHPASS_ACCESS'),
    new Option('--base <path>', 'manifests as they were: what they expose is not new; may be given again')
      .argParser(many)
      .default([]),
    new Option('--fail-on <severity>', 'least severity that fails')
      .choices(['note', 'warning', 'error', 'never'])
      .default('warning'),
    new Option('--output <form>', 'how to print').choices(['text', 'json', 'sarif', 'github']).default('text'),
  ])
    command.addOption(option);
  command.action(async (paths, options) => (await import('./lint.ts')).lint(paths, options));
}
