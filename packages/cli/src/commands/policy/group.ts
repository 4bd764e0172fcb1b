/** `meshpass policy`: its subcommands, each loaded when it is called. */
import { type Command, Option } from 'commander';
import { flag, output, required } from '../../command/flags.ts';

export function policyCommands(program: Command): void {
  const policy = program.command('policy').description('check, test, compare and apply what guards the mesh');
  lintCommand(policy);
  changeCommands(policy);
  testCommand(policy);
  brokerCommands(policy);
  questionCommands(policy);
}

const many = (value: string, before: readonly string[]) => [...before, value];

function lintCommand(policy: Command): void {
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

const acceptUnknown = () =>
  new Option('--accept-unknown', 'apply also where it is unknown whether a grant works; the audit log says so');
const accessFile = () => required('--access <file>', 'the access file', 'MESHPASS_ACCESS');

/** How the mesh is set up, where its own configuration is not among the manifests. */
function onTheMesh(command: Command): Command {
  for (const option of [
    flag('--kubeconfig <file>', 'read a live cluster, beside the manifests', 'MESHPASS_KUBECONFIG'),
    flag('--trust-domain <name>', 'trust domain of the mesh', 'MESHPASS_TRUST_DOMAIN'),
    flag('--root-namespace <name>', "Istio's root namespace", 'MESHPASS_ROOT_NAMESPACE'),
    flag('--cluster-domain <name>', 'DNS domain of the cluster', 'MESHPASS_CLUSTER_DOMAIN').default('cluster.local'),
    flag('--gateway-namespace <name>', 'where the mesh gateway runs', 'MESHPASS_GATEWAY_NAMESPACE').default(
      'meshpass-system',
    ),
    flag('--gateway-label <key=value>', 'label of its pods', 'MESHPASS_GATEWAY_LABEL').default(
      'istio=meshpass-gateway',
    ),
    flag('--gateway-port <port>', 'its AUTO_PASSTHROUGH port', 'MESHPASS_GATEWAY_PORT').default('15443'),
    flag(
      '--public-url <url>',
      "the broker's origin: issuer of identity tokens",
      'MESHPASS_PUBLIC_URL',
    ).makeOptionMandatory(),
    flag('--token-audience <name>', 'audience of identity tokens', 'MESHPASS_TOKEN_AUDIENCE').default('meshpass'),
  ])
    command.addOption(option);
  return command;
}

function changeCommands(policy: Command): void {
  onTheMesh(policy.command('compile').description('print what the access file compiles to, as manifests for GitOps'))
    .argument('[paths...]', 'manifests of Services, workloads and policies')
    .addOption(accessFile())
    .addOption(
      new Option('--jwks <file>', 'keys of identity tokens; without them RequestAuthentication is left to the broker'),
    )
    .action(async (paths, options) => (await import('./compile.ts')).compilePolicy(paths, options));
  onTheMesh(
    policy.command('plan').description('say what a change of the access file means, and whether it may be made'),
  )
    .argument('[paths...]', 'manifests of Services, workloads and policies')
    .addOption(accessFile())
    .addOption(new Option('--from <file>', 'the access file in force, to say who may hold what from now on'))
    .addOption(new Option('--output <form>', 'how to print').choices(['text', 'json', 'markdown']).default('text'))
    .addHelpText(
      'after',
      '\nExit codes: 0 may be applied, 1 refused, 2 wrong flags, 3 the cluster does not answer, 4 refused only because it is unknown whether every grant works.',
    )
    .action(async (paths, options) => (await import('./plan.ts')).planPolicy(paths, options));
  policy
    .command('diff')
    .description('say who gains and who loses which call between two sets of manifests; exact, with an example of each')
    .argument('<before>', 'file or directory')
    .argument('<after>', 'file or directory')
    .addOption(
      new Option('--context <path>', 'manifests of Services and workloads that both have; may be given again')
        .argParser(many)
        .default([]),
    )
    .addOption(new Option('--exit-code', 'exit with 1 where the meaning differs'))
    .addHelpText(
      'after',
      '\nExit codes: 0 compared (with --exit-code: the same), 1 with --exit-code: it differs, 2 wrong flags, 4 something is unknown.',
    )
    .addOption(output())
    .action(async (before, after, options) => (await import('./diff.ts')).diffPolicy(before, after, options));
}

function testCommand(policy: Command): void {
  onTheMesh(policy.command('test').description('decide the cases of test files; docs/policy.md has their form'))
    .argument('<suites...>', 'files of cases')
    .addOption(accessFile())
    .addOption(new Option('--manifests <paths...>', 'manifests of Services, workloads and policies').default([]))
    .addOption(new Option('--junit <file>', 'write the result as JUnit XML'))
    .addOption(new Option('--min-coverage <percent>', 'fail where less of the rules has decided a case').default('0'))
    .addOption(output())
    .action(async (suites, options) => (await import('./test.ts')).testPolicy(suites, options));
}

/** What the broker does: by the OIDC token of a job of GitHub Actions where there is one, else by an operator's. */
function brokerCommands(policy: Command): void {
  const reach = (command: Command): Command => {
    for (const option of [
      required('--broker <url>', 'public URL of the broker; for operators, its operator listener', 'MESHPASS_BROKER'),
      flag('--operator-token <file>', 'token of operators, or MESHPASS_OPERATOR_TOKEN', 'MESHPASS_OPERATOR_TOKEN_FILE'),
      flag('--policy-audience <name>', "audience of a job's token", 'MESHPASS_POLICY_AUDIENCE').default(
        'meshpass-policy',
      ),
      flag('--ca-file <file>', "PEM of the broker's CA, instead of the system's", 'MESHPASS_CA_FILE'),
    ])
      command.addOption(option);
    return command;
  };
  reach(policy.command('apply').description('have the broker plan an access file, and apply just that plan'))
    .addOption(accessFile())
    .addOption(new Option('--plan <id>', 'apply only if this is still the plan'))
    .addOption(new Option('--dry-run', 'plan only'))
    .addOption(acceptUnknown())
    .addOption(new Option('--output <form>', 'how to print').choices(['text', 'json', 'markdown']).default('text'))
    .addHelpText(
      'after',
      '\nExit codes: 0 applied, 1 refused or stale, 2 wrong flags, 3 the broker or the cluster does not answer, 4 refused only because it is unknown whether every grant works.',
    )
    .action(async (options) => (await import('./apply.ts')).applyPolicy(options));
  reach(policy.command('history').description('access files that were applied, the newest first'))
    .addOption(output())
    .action(async (options) => (await import('./apply.ts')).policyHistory(options));
  reach(policy.command('rollback').description('apply an earlier access file again, if its plan allows that now'))
    .argument('<version>', 'as `history` lists it')
    .addOption(new Option('--reason <text>', 'for the audit log').makeOptionMandatory())
    .addOption(acceptUnknown())
    .addOption(new Option('--output <form>', 'how to print').choices(['text', 'json', 'markdown']).default('text'))
    .action(async (version, options) => (await import('./apply.ts')).rollBackPolicy(version, options));
}

/** Where the answers come from. */
function aboutAMesh(command: Command): Command {
  return command
    .addOption(flag('--kubeconfig <file>', 'a live cluster; files win over what it has', 'MESHPASS_KUBECONFIG'))
    .addOption(
      new Option('--mesh-config <file>', 'MeshConfig of istiod, where its ConfigMap is not among the manifests'),
    )
    .addOption(output());
}

function withRequest(command: Command): Command {
  for (const option of [
    new Option('--method <method>', 'of the request').default('GET'),
    new Option('--path <path>', 'of the request, as the client sends it').default('/'),
    new Option('--host <host>', 'Host of the request (default: the name in the target)'),
    new Option('--header <line>', '"NAME: VALUE"; may be given again').argParser(many).default([]),
    new Option('--tcp', 'bytes that are no HTTP'),
    new Option('--source-ip <address>', 'of the peer'),
    new Option('--sni <name>', 'server name of the TLS handshake'),
  ])
    command.addOption(option);
  return command;
}

function questionCommands(policy: Command): void {
  aboutAMesh(withRequest(policy.command('can-i')))
    .description('may this identity make this call: by which rule, in which file and line')
    .argument('[paths...]', 'manifests of Services, workloads and policies; - is standard input')
    .requiredOption('--as <identity>', 'NAMESPACE/SERVICEACCOUNT, a whole principal, or nobody')
    .requiredOption('--to <target>', 'SERVICE.NAMESPACE:PORT, or NAMESPACE/WORKLOAD:PORT')
    .addOption(new Option('--claims <json>', 'payload of the token that is carried, or @FILE with it'))
    .addHelpText(
      'after',
      '\nExit codes: 0 yes, 1 no or it depends, 2 wrong flags, 3 the cluster does not answer, 4 unknown. docs/evaluator.md has more.',
    )
    .action(async (paths, options) => (await import('./can-i.ts')).canICommand(paths, options));
  aboutAMesh(withRequest(policy.command('who-can')))
    .description('who reaches an endpoint with a call, of all that the mesh knows')
    .argument('<target>', 'SERVICE.NAMESPACE:PORT, or NAMESPACE/WORKLOAD:PORT')
    .addHelpText(
      'after',
      '\nExit codes: 0 whoever can is listed, 1 failed, 2 wrong flags, 3 the cluster does not answer, 4 of some it is unknown. docs/evaluator.md has more.',
    )
    .argument('[paths...]', 'manifests of Services, workloads and policies; - is standard input')
    .addOption(flag('--access <file>', 'access file: which grants open it, and who may hold them', 'MESHPASS_ACCESS'))
    .addOption(
      flag('--public-url <url>', "the broker's origin: issuer of identity tokens", 'MESHPASS_PUBLIC_URL').default(
        'https://broker.invalid',
        'a name that no policy has',
      ),
    )
    .addOption(
      flag('--token-audience <name>', 'audience of identity tokens', 'MESHPASS_TOKEN_AUDIENCE').default('meshpass'),
    )
    .action(async (target, paths, options) => (await import('./who-can.ts')).whoCanCommand(target, paths, options));
  aboutAMesh(policy.command('matrix'))
    .description('identities by endpoints: who reaches every call, some, or none')
    .addHelpText(
      'after',
      '\nExit codes: 0 no cell is unknown, 1 failed, 2 wrong flags, 3 the cluster does not answer, 4 a cell is unknown. docs/evaluator.md has more.',
    )
    .argument('[paths...]', 'manifests of Services, workloads and policies; - is standard input')
    .action(async (paths, options) => (await import('./matrix.ts')).matrixCommand(paths, options));
}
