/**
 * Defines the tree of `meshpass` commands. A command's file contains its flags, its action and its help, and is loaded
 * only if the command is run.
 */
import { MeshpassError } from '@meshpass/identity';
import { CommanderError } from 'commander';
import { buildParser } from './command/build.ts';
import type { Command } from './command/define.ts';
import { longFlag } from './command/flag.ts';
import { EXIT, type ExitCode, type Output, reportFailure } from './command/outcome.ts';
import { commandsInModule, findCommand, type Group, isLeaf, leaf, withHeading } from './command/tree.ts';

const approvals = () => import('./commands/approvals.ts');
const workspace = () => import('./commands/workspace.ts');
const auditLog = () => import('./commands/audit/log.ts');

export const TREE: Group = {
  summary: 'Make a GitHub Codespace a first-class workload of an Istio mesh.',
  examples: ['meshpass up --help', 'meshpass policy lint mesh/'],
  page: 'docs/cli.md',
  children: {
    ...withHeading('In a workspace', {
      up: leaf('Join the mesh with your own identity.', () => import('./commands/up.ts')),
      ...commandsInModule(workspace, {
        down: 'Leave the mesh: the session ends at once.',
        status: 'Show who you are, what you can reach, and until when.',
      }),
      explain: leaf(
        'Explain whether a call would pass, hop by hop, without making it.',
        () => import('./commands/explain.ts'),
      ),
      ...commandsInModule(approvals, {
        request: 'Request a grant that another person must approve.',
        requests: 'Show your requests, requests to answer, and grants you can request.',
        approve: "Approve another person's request, from a workspace or as an operator.",
        deny: "Deny another person's request, from a workspace or as an operator.",
        review: "Review another person's emergency, from a workspace or as an operator.",
      }),
      ...commandsInModule(workspace, {
        'sign-in': "Add a sign-in at your company's identity provider to the session.",
        'sign-out': "End the session's sign-ins.",
        env: 'Print proxy and kubectl settings for a shell.',
        token: 'Print an ID token for another audience.',
        'kubectl-credential': 'Print a kubectl token for this session.',
      }),
      doctor: leaf('Check the requirements for joining the mesh, step by step.', () => import('./commands/doctor.ts')),
    }),
    ...withHeading('Policy', {
      access: {
        summary: 'Work with the access file.',
        examples: ['meshpass access check access.yaml'],
        page: 'docs/access-file.md',
        children: {
          check: leaf('Check that an access file is well-formed.', () => import('./commands/access.ts')),
        },
      },
      policy: {
        summary: 'Lint, query, test, compare and apply mesh policies.',
        examples: ['meshpass policy lint mesh/'],
        page: 'docs/policy.md',
        children: {
          lint: leaf('Find services that are exposed by mistake.', () => import('./commands/policy/lint.ts')),
          exposure: leaf(
            'List the ways into the cluster, and the identity that each requires.',
            () => import('./commands/policy/exposure.ts'),
          ),
          ...commandsInModule(() => import('./commands/policy/query.ts'), {
            'can-i': 'Check whether an identity can make a call, and which rule decides.',
            'who-can': 'List who can make a call to an endpoint.',
            matrix: 'Show which identities can call which endpoints: all calls, some or none.',
          }),
          diff: leaf(
            'Compare which calls two sets of manifests allow, and to whom.',
            () => import('./commands/policy/diff.ts'),
          ),
          ...commandsInModule(() => import('./commands/policy/compiled.ts'), {
            test: 'Run the cases of policy test files.',
            compile: 'Print the manifests that an access file compiles to.',
            plan: 'Show what a change to the access file does.',
          }),
          ...commandsInModule(() => import('./commands/policy/broker.ts'), {
            apply: 'Have the broker plan an access file, and apply exactly that plan.',
            history: 'List applied access files, newest first.',
            rollback: 'Reapply an earlier access file.',
          }),
        },
      },
    }),
    ...withHeading('Operators', {
      ...commandsInModule(() => import('./commands/login.ts'), {
        login: 'Sign in as an operator.',
        logout: 'Sign out as an operator.',
        whoami: 'Show your operator identity and what you may do.',
      }),
      sessions: {
        summary: 'List live sessions, and end them.',
        examples: ['meshpass sessions list'],
        page: 'docs/operating-broker.md',
        children: commandsInModule(() => import('./commands/sessions.ts'), {
          list: 'List live sessions.',
          close: 'End sessions at once.',
        }),
      },
      approvals: {
        summary: 'List and revoke approvals for all sessions.',
        examples: ['meshpass approvals list'],
        page: 'docs/access/approvals.md',
        children: commandsInModule(approvals, {
          list: 'List requests from all sessions.',
          show: 'Show one request.',
          revoke: 'Revoke an approval.',
        }),
      },
      operators: {
        summary: 'List signed-in operators, and end their sessions.',
        examples: ['meshpass operators list'],
        page: 'docs/install/operators.md',
        children: commandsInModule(() => import('./commands/operators.ts'), {
          list: 'List signed-in operators.',
          close: 'End operator sessions.',
          roles: 'Show what each role may do.',
        }),
      },
      audit: {
        summary: 'Read, verify, export, anchor and prune the audit log.',
        examples: ['meshpass audit tail --follow'],
        page: 'docs/audit.md',
        children: {
          ...commandsInModule(auditLog, { tail: 'Print the last rows of the audit log.' }),
          ...commandsInModule(() => import('./commands/audit/export.ts'), {
            verify: 'Find rows that were changed, removed, reordered or cut off.',
            export: 'Export the audit log with everything needed to verify it.',
          }),
          ...commandsInModule(auditLog, {
            checkpoint: 'Print a signed checkpoint of the current audit log.',
            key: 'Print the key that verifies checkpoints.',
            prune: 'Permanently delete old rows.',
          }),
          'accept-restore': leaf(
            'Declare the missing audit rows after a restore from a backup.',
            () => import('./commands/audit/accept-restore.ts'),
          ),
        },
      },
      drill: leaf(
        'Prove that no session credential works after the session ends.',
        () => import('./commands/drill.ts'),
      ),
    }),
    ...withHeading('Running a broker', {
      serve: leaf('Run the broker, and optionally the edge in the same process.', () => import('./commands/serve.ts')),
      edge: leaf('Run a standalone edge that follows a broker.', () => import('./commands/edge.ts')),
      check: leaf('Check an installation: cluster, mesh, broker, GitHub.', () => import('./commands/check.ts')),
      'github-app': {
        summary: "Create and check a broker's GitHub App.",
        examples: ['meshpass github-app create --organization acme'],
        page: 'docs/github/app.md',
        children: commandsInModule(() => import('./commands/github-app.ts'), {
          create: 'Register the App on GitHub in a browser, and store its key.',
          check: "Check the App's key, installations and permissions.",
        }),
      },
      keys: {
        summary: "Create a broker's keys.",
        examples: ['meshpass keys create --help'],
        page: 'docs/rotation.md',
        children: {
          create: leaf('Create the Secret that stores the broker keys.', () => import('./commands/keys.ts')),
        },
      },
      rotate: leaf('Rotate the key that signs tokens.', () => import('./commands/rotate.ts')),
    }),
    ...withHeading('More', {
      version: leaf('Print the versions of this command and a broker.', () => import('./commands/version.ts')),
      completion: {
        summary: 'Print a shell completion script.',
        load: async () => ({ command: (await import('./commands/completion.ts')).createCompletionCommand(() => TREE) }),
      },
    }),
  },
};

/**
 * Runs a single command line.
 * @param argv the arguments, in the same form as `process.argv`
 * @param tree the command tree. Programs that define other commands pass their own tree
 * @returns the exit code
 */
export async function run(argv: readonly string[], tree: Group = TREE): Promise<number> {
  const given = argv.slice(2);
  const { path, node, words } = findCommand(tree, given);
  // Print the help if only `meshpass` or a group is given.
  const isBareGroup = !isLeaf(node) && words.length === path.length;
  const command = isLeaf(node) ? (await node.load()).command : undefined;
  let code: ExitCode | undefined;
  const done = (result: ExitCode | undefined) => {
    code = result;
  };
  try {
    const typed = isBareGroup ? ['--help'] : words.slice(path.length);
    const configured = command?.flags.config ? await wordsOfConfig(command, typed) : [];
    const parser = buildParser(tree, path, command, done);
    await parser.parseAsync([...path, ...configured, ...typed], { from: 'user' });
    return code ?? Number(process.exitCode ?? EXIT.ok);
  } catch (thrown) {
    if (!(thrown instanceof CommanderError)) return reportFailure(thrown, outputOf(given));
    if (thrown.exitCode === 0) return EXIT.ok;
    // The help has been printed because a group was run without a command.
    if (thrown.code === 'commander.help') return EXIT.usage;
    return reportFailure(usageError(thrown, ['meshpass', ...path].join(' '), command), outputOf(given));
  }
}

async function wordsOfConfig(command: Command, words: readonly string[]): Promise<readonly string[]> {
  const { readConfigWords } = await import('./input/config-file.ts');
  return words.includes('--help') ? [] : readConfigWords(command, words, process.env);
}

function outputOf(words: readonly string[]): Output {
  const isJson = words.some(
    (word, index) => word === '--output=json' || (word === 'json' && words[index - 1] === '--output'),
  );
  return isJson ? 'json' : 'text';
}

// Command-line errors are reported like all other errors, with a reference to the help.

/**
 * Converts an error of the command-line parser.
 * @param path the full name of the command, such as `meshpass policy lint`
 */
function usageError(thrown: CommanderError, path: string, command: Command | undefined): MeshpassError {
  const message = thrown.message.replace(/^error: /, '').replace(/\s*\n\s*/g, ' ');
  const flags = Object.entries(command?.flags ?? {});
  const env = flags.find(([name, flag]) => message.includes(`'${longFlag(name, flag)} ${flag.value}'`))?.[1].env;
  const wrong =
    thrown.code === 'commander.missingMandatoryOptionValue' && env ? `${message}, and ${env} is not set` : message;
  const sentence = wrong.charAt(0).toUpperCase() + wrong.slice(1);
  return new MeshpassError('usage', `${sentence.replace(/[.]$/, '')}. See ${path} --help.`);
}
