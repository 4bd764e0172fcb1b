/** The tree of commands: flags and their environment variables, and where each is carried out. */
import { Command, CommanderError, Option } from 'commander';
import { acceptRestoreCommand, checkpointFlags } from './accept-restore-command.ts';
import { policyCommands } from './commands/policy/group.ts';
import { addExamples } from './examples.ts';
import { EXIT, type Output, reportFailure } from './failure.ts';
import { flag, operatorFlags, output, required } from './flags.ts';
import { OVERVIEW } from './overview.ts';
import { rotateCommand } from './rotate-command.ts';
import { usageError, withoutHelpOfNothing } from './usage.ts';

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
  inTheCluster(program);
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

function inTheCluster(program: Command): void {
  const serve = program
    .command('serve')
    .description('run the broker, and the edge in the same process where --edge-listen is given');
  for (const option of [
    required('--access <file>', 'the access file', 'MESHPASS_ACCESS'),
    required('--public-url <url>', 'origin that agents use; issuer of tokens', 'MESHPASS_PUBLIC_URL'),
    flag('--listen <host:port>', 'address of the API', 'MESHPASS_LISTEN').default('0.0.0.0:8443'),
    required('--tls-cert <file>', 'certificate chain, PEM', 'MESHPASS_TLS_CERT'),
    required('--tls-key <file>', 'its key, PEM', 'MESHPASS_TLS_KEY'),
    flag('--operator-listen <host:port>', 'probes, metrics, operators; plain HTTP', 'MESHPASS_OPERATOR_LISTEN').default(
      '127.0.0.1:9090',
    ),
    flag('--operator-token <file>', 'token for all but probes and metrics there', 'MESHPASS_OPERATOR_TOKEN_FILE'),
    required('--data <dir>', 'embedded store and signing key', 'MESHPASS_DATA'),
    flag('--database-url <url>', 'PostgreSQL in place of the embedded store', 'DATABASE_URL'),
    flag('--signing-key <file>', 'RSA keys that sign tokens, PEM; never changed by us', 'MESHPASS_SIGNING_KEY'),
    flag('--audit-key <file>', 'Ed25519 keys that sign the audit log, PEM', 'MESHPASS_AUDIT_KEY'),
    ...checkpointFlags(),
    flag('--audit-retention <days>', 'no row younger can be pruned, 30 at least', 'MESHPASS_AUDIT_RETENTION').default(
      '90',
    ),
    flag('--signing-key-age <seconds>', 'change our own after so long; 0: by hand', 'MESHPASS_SIGNING_KEY_AGE').default(
      '2592000',
    ),
    flag('--signing-key-wait <seconds>', 'a new one is published so long first', 'MESHPASS_SIGNING_KEY_WAIT').default(
      '300',
    ),
    flag('--token-life <seconds>', 'of identity tokens and ID tokens', 'MESHPASS_TOKEN_LIFE').default('300'),
    flag('--token-audience <name>', 'audience of identity tokens', 'MESHPASS_TOKEN_AUDIENCE').default('meshpass'),
    flag('--lease <seconds>', 'a session lapses this long after its last heartbeat', 'MESHPASS_LEASE').default('45'),
    flag('--heartbeat <seconds>', 'time between heartbeats', 'MESHPASS_HEARTBEAT').default('15'),
    flag(
      '--restart-grace <seconds>',
      'added to leases after a restart of the broker',
      'MESHPASS_RESTART_GRACE',
    ).default('60'),
    flag('--deny-ended <which>', 'ends of access that are denied in the mesh, too', 'MESHPASS_DENY_ENDED')
      .choices(['always', 'revoked'])
      .default('revoked'),
    flag('--trusted-proxies <cidr,...>', 'whose X-Forwarded-For is believed', 'MESHPASS_TRUSTED_PROXIES'),
    flag('--kubeconfig <file>', 'outside of a Pod', 'MESHPASS_KUBECONFIG'),
    flag('--istiod <host:port>', 'the certificate authority', 'MESHPASS_ISTIOD').default(
      'istiod.istio-system.svc:15012',
    ),
    flag('--istiod-name <name>', "name in istiod's certificate", 'MESHPASS_ISTIOD_NAME').default(
      'istiod.istio-system.svc',
    ),
    flag('--istiod-roots <file>', 'roots of the mesh, instead of the ConfigMap', 'MESHPASS_ISTIOD_ROOTS'),
    flag('--trust-domain <name>', 'trust domain of the mesh', 'MESHPASS_TRUST_DOMAIN').default('cluster.local'),
    flag('--root-namespace <name>', "Istio's root namespace", 'MESHPASS_ROOT_NAMESPACE').default('istio-system'),
    flag('--gateway-namespace <name>', 'where the mesh gateway runs', 'MESHPASS_GATEWAY_NAMESPACE').default(
      'meshpass-system',
    ),
    flag('--gateway-label <key=value>', 'label of its pods', 'MESHPASS_GATEWAY_LABEL').default(
      'istio=meshpass-gateway',
    ),
    flag('--gateway-port <port>', 'its AUTO_PASSTHROUGH port', 'MESHPASS_GATEWAY_PORT').default('15443'),
    flag('--github-api <url>', 'GitHub API', 'MESHPASS_GITHUB_API').default('https://api.github.com'),
    flag('--github-app <id>', 'GitHub App that reads teams', 'MESHPASS_GITHUB_APP'),
    flag('--github-app-key <file>', 'its private key, PEM', 'MESHPASS_GITHUB_APP_KEY'),
    flag('--github-token-file <file>', 'watch GitHub with this token, not as the App', 'MESHPASS_GITHUB_TOKEN_FILE'),
    flag(
      '--codespace-presence <mode>',
      'Codespaces must answer from within: always; unless port forwarding cannot be reached; never',
      'MESHPASS_CODESPACE_PRESENCE',
    )
      .choices(['required', 'preferred', 'off'])
      .default('required'),
    flag('--github-sweep <seconds>', 'least time between looks at Codespaces', 'MESHPASS_GITHUB_SWEEP').default('10'),
    flag('--github-members <seconds>', 'least time between looks at teams', 'MESHPASS_GITHUB_MEMBERS').default('60'),
    flag(
      '--github-event-token <file>',
      "token with which GitHub's audit log is streamed to us",
      'MESHPASS_GITHUB_EVENT_TOKEN_FILE',
    ),
    flag(
      '--gitops',
      'others apply what is compiled: write only keys, revocations and ServiceAccounts',
      'MESHPASS_GITOPS',
    ),
    flag('--policy-repository <id>', 'its jobs plan and apply access files', 'MESHPASS_POLICY_REPOSITORY'),
    flag('--policy-owner <id>', 'id of its owner', 'MESHPASS_POLICY_OWNER'),
    flag('--policy-workflow <path@ref>', 'job_workflow_ref of jobs that apply', 'MESHPASS_POLICY_WORKFLOW'),
    flag('--policy-environment <name>', 'environment of jobs that apply', 'MESHPASS_POLICY_ENVIRONMENT'),
    flag('--policy-ref <ref>', 'the ref whose jobs apply', 'MESHPASS_POLICY_REF').default('refs/heads/main'),
    flag('--policy-issuer <url>', 'issuer of their tokens', 'MESHPASS_POLICY_ISSUER').default(
      'https://token.actions.githubusercontent.com',
    ),
    required('--edge-public <host:port>', 'where agents find the edge', 'MESHPASS_EDGE_PUBLIC'),
    flag('--edge-listen <host:port>', 'run the edge here', 'MESHPASS_EDGE_LISTEN'),
    flag('--edge-service-account <ns:name>', 'who may follow the feed', 'MESHPASS_EDGE_SERVICE_ACCOUNT').default(
      'meshpass-system:meshpass-edge',
    ),
    ...edgeFlags('--edge-'),
    flag('--log-level <level>', 'debug, info, warn or error', 'MESHPASS_LOG_LEVEL').default('info'),
  ])
    serve.addOption(option);
  serve.action(async (options) => (await import('./commands/serve.ts')).serve(options));

  const edge = program.command('edge').description('run the edge alone, fed by a broker');
  for (const option of [
    flag('--listen <host:port>', 'where agents connect', 'MESHPASS_EDGE_LISTEN').default('0.0.0.0:443'),
    required('--broker <url,...>', 'URL of the broker; of several, all', 'MESHPASS_BROKER'),
    required('--broker-token <file>', 'ServiceAccount token, audience meshpass-broker', 'MESHPASS_BROKER_TOKEN_FILE'),
    flag('--broker-ca <file>', "CA of the broker's certificate, PEM", 'MESHPASS_BROKER_CA'),
    flag(
      '--stale <seconds>',
      'silence of the broker after which everything is refused and cut; until then no end of a session is heard either',
      'MESHPASS_EDGE_STALE',
    ).default('600'),
    ...edgeFlags('--'),
    flag('--log-level <level>', 'debug, info, warn or error', 'MESHPASS_LOG_LEVEL').default('info'),
  ])
    edge.addOption(option);
  edge.action(async (options) => (await import('./commands/edge.ts')).edge(options));
}

/** The same settings for the edge alone and within `serve`. */
function edgeFlags(prefix: '--' | '--edge-'): Option[] {
  const operator = prefix === '--' ? '--operator-listen' : '--edge-operator-listen';
  return [
    flag(`${prefix}tls-cert <file>`, 'certificate chain of the edge, PEM', 'MESHPASS_EDGE_TLS_CERT'),
    flag(`${prefix}tls-key <file>`, 'its key, PEM', 'MESHPASS_EDGE_TLS_KEY'),
    flag('--mesh-gateway <host:port>', 'the mesh gateway, the only thing the edge dials', 'MESHPASS_MESH_GATEWAY'),
    flag(`${operator} <host:port>`, 'probes and metrics of the edge, plain HTTP', 'MESHPASS_EDGE_OPERATOR_LISTEN'),
  ];
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
    .action(async (file, options) => (await import('./commands/access.ts')).check(file, options));
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
