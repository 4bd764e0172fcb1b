/** The tree of commands: flags and their environment variables, and where each is carried out. */
import { Command, CommanderError, Option } from 'commander';
import { acceptRestoreCommand } from './accept-restore-command.ts';
import { clusterCommands } from './cluster-commands.ts';
import { EXIT, type Output, reportFailure } from './command/failure.ts';
import { flag, operatorFlags, output } from './command/flags.ts';
import { usageError, withoutHelpOfNothing } from './command/usage.ts';
import { policyCommands } from './commands/policy/group.ts';
import { addExamples } from './examples.ts';
import { OVERVIEW } from './overview.ts';
import { rotateCommand } from './rotate-command.ts';

/** DRILL_CAUSES of @meshpass/identity/drill-report, which would load zod for every command. */
const DRILL_CAUSES = ['goodbye', 'admin', 'lapse', 'rebuild', 'outside'];

const EXIT_CODES = `
Exit codes: 0 done, 1 refused or failed, 2 wrong flags or configuration, 3 something needed does not answer (try again),
4 a question about policy whose answer is unknown (docs/evaluator.md).
Every error ends with its [code]; docs/troubleshooting.md explains each.`;

/** Every command with its flags; nothing is carried out. */
export function commands(): Command {
  const program = new Command('meshpass')
    .description('Makes a GitHub Codespace a first-class workload of an Istio mesh.')
    .version('0.1.0')
    // Said by us, in the form that --output asks for.
    .configureOutput({ outputError: () => {} })
    .addHelpText('after', EXIT_CODES)
    .exitOverride();
  inTheWorkspace(program);
  clusterCommands(program);
  inOperation(program);
  rotateCommand(program);
  onTheDesk(program);
  auditCommands(program);
  drillCommand(program);
  policyCommands(program);
  addExamples(program, EXIT_CODES);
  return program;
}

/**
 * Runs one command line.
 * @param argv as `process.argv`
 * @returns the exit code
 */
export async function run(argv: readonly string[]): Promise<number> {
  if (argv.length === 2) {
    console.log(OVERVIEW);
    return EXIT.ok;
  }
  const program = commands();
  try {
    await program.parseAsync(withoutHelpOfNothing(program, argv) as string[]);
    return Number(process.exitCode ?? EXIT.ok);
  } catch (thrown) {
    if (!(thrown instanceof CommanderError)) return reportFailure(thrown, outputOf(argv));
    if (thrown.exitCode === 0) return EXIT.ok;
    // Who names no command has been shown which there are.
    if (thrown.code === 'commander.help') return EXIT.usage;
    return reportFailure(usageError(thrown, program, argv), outputOf(argv));
  }
}

function inTheWorkspace(program: Command): void {
  const broker = () => flag('--broker <url>', 'public URL of the broker', 'MESHPASS_BROKER');
  program
    .command('up')
    .description('prove who you are, obtain credentials, and carry traffic to the mesh')
    .addOption(broker())
    .addOption(flag('--ca-file <file>', 'PEM of the CA of broker and edge, instead of the system', 'MESHPASS_CA_FILE'))
    .addOption(flag('--proof-file <file>', 'file with an OIDC ID token', 'MESHPASS_PROOF_FILE'))
    .addOption(flag('--audience <name>', 'audience of the proof, where the agent asks for it', 'MESHPASS_AUDIENCE'))
    .addOption(flag('--proxy-port <port>', 'port of the proxy (0: any free one)', 'MESHPASS_PROXY_PORT'))
    .addOption(
      flag('--presence-port <port>', 'port that answers the broker (0: any free one)', 'MESHPASS_PRESENCE_PORT'),
    )
    .option('--no-by-name', 'leave /etc/hosts alone; carry traffic through the proxy only')
    .option('--foreground', 'stay in the foreground until SIGTERM, SIGINT or `meshpass down`')
    .addOption(output())
    .action(async (options) => (await import('./commands/up.ts')).up(options));
  program
    .command('down')
    .description('say goodbye: the session ends at once; cleans up after a crash too')
    .addOption(output())
    .action(async (options) => (await import('./commands/agent.ts')).downCommand(options));
  program
    .command('status')
    .description('who you are, what you may reach, until when')
    .addOption(output())
    .action(async (options) => (await import('./commands/agent.ts')).statusCommand(options));
  program
    .command('doctor')
    .description('try, step by step, what an enrolment needs, and say of what fails what to do next')
    .addOption(broker())
    .addOption(flag('--ca-file <file>', 'PEM of the CA of broker and edge, instead of the system', 'MESHPASS_CA_FILE'))
    .addOption(flag('--proof-file <file>', 'file with an OIDC ID token', 'MESHPASS_PROOF_FILE'))
    .addOption(flag('--audience <name>', 'audience of the proof, where the agent asks for it', 'MESHPASS_AUDIENCE'))
    .addOption(
      flag('--presence-port <port>', 'port that answers the broker (0: any free one)', 'MESHPASS_PRESENCE_PORT'),
    )
    .addOption(output())
    .action(async (options) => (await import('./commands/doctor.ts')).doctor(options));
  program
    .command('env')
    .description('print the proxy settings: eval "$(meshpass env)"')
    .addOption(output())
    .action(async (options) => (await import('./commands/agent.ts')).envCommand(options));
  program
    .command('token')
    .description('print an ID token for another audience (AWS, GCP, Azure, Vault)')
    .requiredOption('--audience <audience>', 'for example sts.amazonaws.com')
    .addOption(output())
    .action(async (options) => (await import('./commands/agent.ts')).tokenCommand(options));
}

function inOperation(program: Command): void {
  const sessions = program.command('sessions').description('see who has access now, and end it');
  const selectors = () => [
    new Option('--id <id>', 'one session'),
    new Option('--user <login>', 'sessions of a login, or of a subject such as github:583231'),
    new Option('--codespace <name>', 'the session of a Codespace, or of another workspace'),
    new Option('--grant <name>', 'sessions that hold a grant'),
    ...operatorFlags(),
  ];
  const list = sessions.command('list').description('live sessions');
  const close = sessions
    .command('close')
    .description('end sessions at once: new and open connections die, credentials are refused')
    .option('--all', 'every session')
    .option('--reason <text>', 'for the audit log')
    .option('--yes', 'do not ask before --all');
  for (const option of selectors()) list.addOption(option);
  for (const option of selectors()) close.addOption(option);
  list.action(async (options) => (await import('./commands/sessions.ts')).listSessions(options));
  close.action(async (options) => (await import('./commands/sessions.ts')).closeSessions(options));
}

function onTheDesk(program: Command): void {
  const access = program.command('access').description('work on the access file');
  access
    .command('check <file>')
    .description('read it and say what is wrong, with file:line:column')
    .addOption(output())
    .action(async (file, options) => (await import('./commands/access/check.ts')).check(file, options));
}

function auditCommands(program: Command): void {
  const audit = program.command('audit').description('read, verify, export, anchor and prune the audit log');
  const many = (value: string, before: readonly string[]) => [...before, value];
  const on = (command: Command, ...options: Option[]) => {
    const common = [
      flag('--operator <url>', 'operator listener of the broker', 'MESHPASS_OPERATOR').default('http://127.0.0.1:9090'),
      flag('--operator-token <file>', 'token of operators, or MESHPASS_OPERATOR_TOKEN', 'MESHPASS_OPERATOR_TOKEN_FILE'),
      output(),
    ];
    for (const option of [...options, ...common]) command.addOption(option);
    return command;
  };
  on(
    audit
      .command('verify')
      .description('find a row that was changed, removed, reordered or cut off; exit code 1 if so'),
    new Option('--file <file>', 'an export, instead of the broker’s log'),
    new Option('--checkpoint <file>', 'a checkpoint that was kept elsewhere; may be given again')
      .argParser(many)
      .default([]),
    new Option('--key <key>', 'verifier key, or a file with it; may be given again').argParser(many).default([]),
  ).action(async (options) => (await import('./commands/audit.ts')).verifyAudit(options));
  on(
    audit.command('tail').description('the last rows'),
    new Option('--lines <number>', 'how many').default('20'),
    new Option('--follow', 'go on as rows are written'),
    new Option('--session <id>', 'rows of one session'),
  ).action(async (options) => (await import('./commands/audit.ts')).tailAudit(options));
  on(
    audit.command('export').description('the whole log, with what it takes to verify it'),
    new Option('--form <form>', 'JSON Lines that verify, or OCSF events').choices(['jsonl', 'ocsf']).default('jsonl'),
    new Option('--after <row>', 'leave the rows up to this one out').default('0'),
    new Option('--to <file>', 'a new file, instead of standard output'),
  ).action(async (options) => (await import('./commands/audit.ts')).exportAudit(options));
  on(audit.command('checkpoint').description('a signed checkpoint of now, to be kept elsewhere')).action(
    async (options) => (await import('./commands/audit.ts')).checkpointAudit(options),
  );
  on(audit.command('key').description('the key that verifies checkpoints, to be kept elsewhere')).action(
    async (options) => (await import('./commands/audit.ts')).keyAudit(options),
  );
  on(
    audit.command('prune').description('delete old rows for good; what is left verifies from a signed cut'),
    new Option('--before <date>', 'rows of this time and later stay').makeOptionMandatory(),
    new Option('--yes', 'confirm'),
  ).action(async (options) => (await import('./commands/audit.ts')).pruneAudit(options));
  acceptRestoreCommand(audit);
}

function drillCommand(program: Command): void {
  const drill = program
    .command('drill')
    .description('prove that a session that ends leaves nothing that works; exit code 1 where something stale does');
  for (const option of [
    flag('--broker <url>', 'public URL of the broker', 'MESHPASS_BROKER'),
    flag('--ca-file <file>', 'PEM of the CA of broker and edge, instead of the system', 'MESHPASS_CA_FILE'),
    flag('--proof-file <file>', 'file with an OIDC ID token', 'MESHPASS_PROOF_FILE'),
    flag('--audience <name>', 'audience of the proof, where it is asked for', 'MESHPASS_AUDIENCE'),
    new Option('--cause <cause>', 'what ends the session; outside: wait for somebody else to')
      .choices(DRILL_CAUSES)
      .default('goodbye'),
    new Option('--wait <seconds>', 'how long to wait for a cause from outside').default('300'),
    new Option('--rebuild', 'then open a session of the same workspace anew: it works, the old one stays dead'),
    new Option('--service <host:port>', 'the granted HTTP service to call'),
    new Option('--path <path>', 'what to GET there'),
    flag('--operator <url>', 'operator listener of the broker, with --operator-token', 'MESHPASS_OPERATOR'),
    flag(
      '--operator-token <file>',
      'closes, looks into the store, has evidence signed',
      'MESHPASS_OPERATOR_TOKEN_FILE',
    ),
    flag('--kubeconfig <file>', 'to look at ServiceAccounts, their tokens and the root DENY', 'MESHPASS_KUBECONFIG'),
    flag('--root-namespace <name>', "Istio's root namespace", 'MESHPASS_ROOT_NAMESPACE').default('istio-system'),
    new Option('--inside-gateway <host:port>', 'mesh gateway, where the drill runs inside of the cluster'),
    new Option('--inside-pod <service:port=host:port...>', 'pod of a granted service, likewise'),
    new Option('--evidence <file>', 'write the report here, signed by the broker'),
    new Option('--verify <file>', 'only verify such a file and print it'),
    new Option('--jwks <file>', 'with these keys, instead of those that the broker has now'),
    output(),
  ])
    drill.addOption(option);
  drill.action(async (options) => (await import('./commands/drill.ts')).drill(options));
}

function outputOf(argv: readonly string[]): Output {
  const at = argv.indexOf('--output');
  return argv[at + 1] === 'json' || argv.includes('--output=json') ? 'json' : 'text';
}
