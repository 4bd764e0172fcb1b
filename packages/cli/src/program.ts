/** The commands of `meshpass`. Each is one file, loaded when it is called: what it takes, what it does, how its help reads. */
import { CommanderError } from 'commander';
import { buildParser } from './command/build.ts';
import type { Command } from './command/define.ts';
import { EXIT, type ExitCode, type Output, reportFailure } from './command/failure.ts';
import { type Group, isLeaf, select } from './command/tree.ts';
import { usageError } from './command/usage.ts';
import { OVERVIEW } from './overview.ts';

export const TREE: Group = {
  summary: 'Make a GitHub Codespace a first-class workload of an Istio mesh.',
  examples: ['meshpass up --help', 'meshpass policy lint mesh/'],
  page: 'docs/cli.md',
  children: {
    up: { summary: 'Join the mesh with your own identity.', load: () => import('./commands/up.ts') },
    down: { summary: 'Leave the mesh: the session ends at once.', load: () => import('./commands/down.ts') },
    status: {
      summary: 'Show who you are, what you may reach and until when.',
      load: () => import('./commands/status.ts'),
    },
    explain: {
      summary: 'Say whether a call would pass, hop by hop, before it is made.',
      load: () => import('./commands/explain.ts'),
    },
    request: { summary: 'Ask for a grant that somebody has to approve.', load: () => import('./commands/request.ts') },
    requests: {
      summary: 'Show your requests, those that you may answer, and what you can ask for.',
      load: () => import('./commands/requests.ts'),
    },
    approve: { summary: "Approve somebody else's request.", load: () => import('./commands/approve.ts') },
    deny: { summary: "Deny somebody else's request.", load: () => import('./commands/deny.ts') },
    review: {
      summary: 'Say whether what somebody else took in an emergency was right.',
      load: () => import('./commands/review.ts'),
    },
    approvals: {
      summary: 'See all requests for approval, and answer or take back, as an operator.',
      examples: ['meshpass approvals list'],
      page: 'docs/access/approvals.md',
      children: {
        list: { summary: 'List requests of all sessions.', load: () => import('./commands/approvals/list.ts') },
        show: { summary: 'Show one request.', load: () => import('./commands/approvals/show.ts') },
        approve: { summary: 'Approve a request.', load: () => import('./commands/approvals/approve.ts') },
        deny: { summary: 'Deny a request.', load: () => import('./commands/approvals/deny.ts') },
        review: {
          summary: 'Say whether what was taken in an emergency was right.',
          load: () => import('./commands/approvals/review.ts'),
        },
        revoke: { summary: 'Take back what was approved.', load: () => import('./commands/approvals/revoke.ts') },
      },
    },
    doctor: { summary: 'Check what joining the mesh needs, step by step.', load: () => import('./commands/doctor.ts') },
    version: {
      summary: 'Print the versions of this command and of a broker.',
      load: () => import('./commands/version.ts'),
    },
    completion: {
      summary: 'Print what makes a shell complete meshpass commands.',
      load: async () => ({ command: (await import('./commands/completion.ts')).completionOf(() => TREE) }),
    },
    env: { summary: 'Print the settings for proxy and kubectl for a shell.', load: () => import('./commands/env.ts') },
    token: { summary: 'Print an ID token for another audience.', load: () => import('./commands/token.ts') },
    'kubectl-credential': {
      summary: 'Give kubectl a token of this session.',
      load: () => import('./commands/kubectl-credential.ts'),
    },
    access: {
      summary: 'Work on the access file.',
      examples: ['meshpass access check access.yaml'],
      page: 'docs/access-file.md',
      children: {
        check: {
          summary: 'Check that an access file is well-formed.',
          load: () => import('./commands/access/check.ts'),
        },
      },
    },
    policy: {
      summary: 'Lint, query, test, compare and apply what guards the mesh.',
      examples: ['meshpass policy lint mesh/'],
      page: 'docs/policy.md',
      children: {
        lint: { summary: 'Find what is exposed by mistake.', load: () => import('./commands/policy/lint.ts') },
        'can-i': {
          summary: 'Decide whether an identity may make a call, and by which rule.',
          load: () => import('./commands/policy/can-i.ts'),
        },
        'who-can': {
          summary: 'List who can make a call to an endpoint.',
          load: () => import('./commands/policy/who-can.ts'),
        },
        matrix: {
          summary: 'Show identities by endpoints: all calls, some or none.',
          load: () => import('./commands/policy/matrix.ts'),
        },
        diff: {
          summary: 'Show which calls two sets of manifests allow differently, and to whom.',
          load: () => import('./commands/policy/diff.ts'),
        },
        test: { summary: 'Run the cases of policy test files.', load: () => import('./commands/policy/test.ts') },
        compile: {
          summary: 'Print the manifests that an access file compiles to.',
          load: () => import('./commands/policy/compile.ts'),
        },
        plan: {
          summary: 'Show what a change of the access file does.',
          load: () => import('./commands/policy/plan.ts'),
        },
        apply: {
          summary: 'Have the broker plan an access file and apply exactly that plan.',
          load: () => import('./commands/policy/apply.ts'),
        },
        history: {
          summary: 'List the access files that were applied, newest first.',
          load: () => import('./commands/policy/history.ts'),
        },
        rollback: {
          summary: 'Apply an earlier access file again.',
          load: () => import('./commands/policy/rollback.ts'),
        },
      },
    },
    serve: {
      summary: 'Run the broker, and optionally the edge in the same process.',
      load: () => import('./commands/serve.ts'),
    },
    edge: { summary: 'Run the edge alone, fed by a broker.', load: () => import('./commands/edge.ts') },
    check: {
      summary: 'Check an installation: cluster, mesh, broker, GitHub.',
      load: () => import('./commands/check.ts'),
    },
    'github-app': {
      summary: 'Make the GitHub App of a broker, and check it.',
      examples: ['meshpass github-app create --organization acme'],
      page: 'docs/github/app.md',
      children: {
        create: {
          summary: 'Register the App with GitHub, in a browser, and store its key.',
          load: () => import('./commands/github-app/create.ts'),
        },
        check: { summary: 'Ask GitHub what the App lacks.', load: () => import('./commands/github-app/check.ts') },
      },
    },
    sessions: {
      summary: 'See who has access now, and end it.',
      examples: ['meshpass sessions list'],
      page: 'docs/operating-broker.md',
      children: {
        list: { summary: 'List live sessions.', load: () => import('./commands/sessions/list.ts') },
        close: { summary: 'End sessions at once.', load: () => import('./commands/sessions/close.ts') },
      },
    },
    login: {
      summary: 'Sign in: a workspace at your company, or you as an operator.',
      load: () => import('./commands/login/login.ts'),
    },
    logout: { summary: 'Sign out again.', load: () => import('./commands/login/logout.ts') },
    whoami: {
      summary: 'Show who you are to a broker, and what you may do.',
      load: () => import('./commands/login/whoami.ts'),
    },
    operators: {
      summary: 'See which operators are signed in, end their sessions, and confirm what others ask for.',
      examples: ['meshpass operators list'],
      page: 'docs/install/operators.md',
      children: {
        list: { summary: 'List the operators who are signed in.', load: () => import('./commands/operators/list.ts') },
        close: { summary: 'End sessions of operators.', load: () => import('./commands/operators/close.ts') },
        roles: { summary: 'Show what each role may do.', load: () => import('./commands/operators/roles.ts') },
        confirmations: {
          summary: 'List what waits for a second person.',
          load: () => import('./commands/operators/confirmations.ts'),
        },
        confirm: {
          summary: 'Confirm what another operator asked for; it runs at once.',
          load: () => import('./commands/operators/confirm.ts'),
        },
        withdraw: {
          summary: 'Withdraw what waits for a second person.',
          load: () => import('./commands/operators/withdraw.ts'),
        },
      },
    },
    rotate: { summary: 'Change the key that signs tokens.', load: () => import('./commands/rotate.ts') },
    keys: {
      summary: 'Make the keys of a broker.',
      examples: ['meshpass keys create --help'],
      page: 'docs/rotation.md',
      children: {
        create: {
          summary: 'Create the Secret with signing key, audit key and operator token.',
          load: () => import('./commands/keys/create.ts'),
        },
      },
    },
    drill: {
      summary: 'Prove that nothing works after a session has ended.',
      load: () => import('./commands/drill.ts'),
    },
    audit: {
      summary: 'Read, verify, export, anchor and prune the audit log.',
      examples: ['meshpass audit tail --follow'],
      page: 'docs/audit.md',
      children: {
        tail: { summary: 'Print the last rows of the audit log.', load: () => import('./commands/audit/tail.ts') },
        verify: {
          summary: 'Find rows that were changed, removed, reordered or cut off.',
          load: () => import('./commands/audit/verify.ts'),
        },
        export: {
          summary: 'Export the audit log with what is needed to verify it.',
          load: () => import('./commands/audit/export.ts'),
        },
        checkpoint: {
          summary: 'Print a signed checkpoint of the audit log as it is now.',
          load: () => import('./commands/audit/checkpoint.ts'),
        },
        key: { summary: 'Print the key that verifies checkpoints.', load: () => import('./commands/audit/key.ts') },
        prune: { summary: 'Delete old rows for good.', load: () => import('./commands/audit/prune.ts') },
        'accept-restore': {
          summary: 'Declare what the audit log lacks after a restore from a backup.',
          load: () => import('./commands/audit/accept-restore.ts'),
        },
      },
    },
  },
};

/**
 * Runs one command line.
 * @param argv as `process.argv`
 * @param tree of a program that composes other commands
 * @returns the exit code
 */
export async function run(argv: readonly string[], tree: Group = TREE): Promise<number> {
  const given = argv.slice(2);
  if (given.length === 0) {
    console.log(OVERVIEW);
    return EXIT.ok;
  }
  const { path, node, words } = select(tree, given);
  // Explains itself, as a bare `meshpass` does.
  const isBareGroup = !isLeaf(node) && words.length === path.length;
  const command = isLeaf(node) ? (await node.load()).command : undefined;
  let code: ExitCode | undefined;
  const done = (result: ExitCode | undefined) => {
    code = result;
  };
  try {
    const config = command?.flags.config && (await configured(command, words));
    const parser = buildParser(tree, path, command, done, config);
    await parser.parseAsync(isBareGroup ? [...words, '--help'] : words, { from: 'user' });
    return code ?? Number(process.exitCode ?? EXIT.ok);
  } catch (thrown) {
    if (!(thrown instanceof CommanderError)) return reportFailure(thrown, outputOf(given));
    if (thrown.exitCode === 0) return EXIT.ok;
    // A group without a command prints its help.
    if (thrown.code === 'commander.help') return EXIT.usage;
    return reportFailure(usageError(thrown, ['meshpass', ...path].join(' '), command), outputOf(given));
  }
}

async function configured(command: Command, words: readonly string[]) {
  const { configValues } = await import('./input/config-file.ts');
  return words.includes('--help') ? {} : configValues(command, words, process.env);
}

function outputOf(words: readonly string[]): Output {
  const isJson = words.some(
    (word, index) => word === '--output=json' || (word === 'json' && words[index - 1] === '--output'),
  );
  return isJson ? 'json' : 'text';
}
