/**
 * Defines the commands that plan and apply access files at the broker. They are run either by a GitHub Actions job or
 * by an operator.
 */
import { realpathSync } from 'node:fs';
import { basename, dirname, relative } from 'node:path';
import { loadAccess } from '@meshpass/access';
import { requestActionsToken } from '@meshpass/agent/session/actions-token';
import { type Plan, refusals } from '@meshpass/analysis/plan';
import { MeshpassError } from '@meshpass/identity';
import { defineCommand } from '../../command/define.ts';
import { argument, type OptionsOf, parseWholeNumber, text, toggle } from '../../command/flag.ts';
import { EXIT, type ExitCode, printAnswer, printLines } from '../../command/outcome.ts';
import { accessFile, broker, operatorFlags, output, TOKEN_ENV } from '../../command/shared-flags.ts';
import { withFlagName } from '../../input/files.ts';
import { createOperatorClient, type OperatorCall } from '../../operator/client.ts';
import { planAnswer, planExitCode, planOutput } from '../../output/plan.ts';
import { formatTable } from '../../output/table.ts';

const authorFlags = {
  ...operatorFlags,
  broker,
  policyAudience: text('<name>', "audience of a GitHub Actions job's OIDC token", {
    env: 'MESHPASS_POLICY_AUDIENCE',
    default: 'meshpass-policy',
  }),
};
const AUTHOR_ENV = {
  ...TOKEN_ENV,
  ACTIONS_ID_TOKEN_REQUEST_URL: 'set by GitHub Actions in jobs with `id-token: write`; such a job calls --broker',
};
const acceptUnknown = toggle('apply even if it is unknown whether a grant works; the audit log records it');
const applyFlags = {
  access: accessFile,
  plan: text('<id>', 'apply only if the plan still has this ID'),
  dryRun: toggle('plan without applying'),
  acceptUnknown,
  reason: text('<text>', 'reason for the audit log; required for operators'),
  ...authorFlags,
  output: planOutput,
};

interface History {
  readonly versions: readonly object[];
}

type Planned = Omit<Plan, 'manifests'>;

export const commands = {
  apply: defineCommand({
    about:
      'A GitHub Actions job calls the broker at --broker with its OIDC token; an operator with the admin role calls it at --operator.',
    flags: applyFlags,
    exitCodes: {
      0: 'applied; with --dry-run: can be applied',
      1: 'rejected, or the plan has changed',
      3: 'the broker or its cluster does not respond; try again',
      4: 'rejected only because it is unknown whether every grant works',
    },
    env: AUTHOR_ENV,
    examples: ['meshpass policy apply --access access.yaml --broker https://broker.example.com --dry-run'],
    page: 'docs/policy.md',
    run: apply,
  }),
  history: defineCommand({
    about: 'Queries --broker as a GitHub Actions job, or --operator as an operator.',
    flags: { ...authorFlags, output },
    env: AUTHOR_ENV,
    examples: ['meshpass policy history --operator http://127.0.0.1:9090'],
    page: 'docs/access/ways-to-change-access.md',
    run: async (options) => {
      const history = (await (await asAuthor(options))('GET', '/policy/history')) as History;
      const { versions } = history;
      const none = ['No access file was applied by plan. The file on disk is in effect.'];
      const columns = ['version', 'time', 'by', 'plan', 'reason'];
      return { json: history, text: () => (versions.length === 0 ? none : formatTable(versions, columns)) };
    },
  }),
  rollback: defineCommand({
    about:
      'Requires the admin role. The broker plans the version again, and rejects it if the plan would be rejected now. Version 0 is the access file on disk, which the chart writes. After a rollback to version 0, later changes to that file also apply.',
    args: { version: argument('version number, from meshpass policy history; 0: the file on disk') },
    flags: {
      reason: text('<text>', 'reason for the audit log', { required: true }),
      acceptUnknown,
      ...authorFlags,
      output: planOutput,
    },
    exitCodes: { 0: 'applied', 1: 'rejected', 3: 'the broker or its cluster does not respond; try again' },
    env: TOKEN_ENV,
    examples: [
      'meshpass policy rollback 7 --operator http://127.0.0.1:9090 --reason "orders is broken"',
      'meshpass policy rollback 0 --reason "the chart manages the file again"',
    ],
    page: 'docs/access/ways-to-change-access.md',
    run: async ({ version, reason, acceptUnknown, output, ...options }) => {
      const planned = (await createOperatorClient(options)('POST', '/policy/rollback', {
        version: parseWholeNumber(version, 'VERSION'),
        reason,
        ...(acceptUnknown && { accept_unknown: true }),
      })) as Planned;
      return planAnswer(planned, output);
    },
  }),
};

/**
 * Plans the change at the broker, and applies it if the plan is accepted.
 * @throws MeshpassError with the broker's error code: `plan_stale`, `plan_refused`, `plan_unauthorized`, `access_*`
 */
async function apply(options: OptionsOf<typeof applyFlags>): Promise<ExitCode> {
  const order = withFlagName('--access', () => filesOf(options.access));
  const { acceptUnknown, output, reason } = options;
  const planned = (await (await asAuthor(options))('POST', '/policy/plan', order)) as Planned;
  printAnswer(planAnswer(planned, output), output);
  if (refusals(planned, { acceptUnknown }).length > 0) return planExitCode(planned, { acceptUnknown });
  if (options.dryRun) return EXIT.ok;
  if (options.plan !== undefined && options.plan !== planned.id)
    throw new MeshpassError(
      'plan_stale',
      'The plan has changed since --plan was created. Plan again and review the new plan.',
    );
  await (await asAuthor(options))('POST', '/policy/apply', {
    ...order,
    plan: planned.id,
    ...(acceptUnknown && { accept_unknown: true }),
    reason,
  });
  if (output !== 'json') printLines('', 'Applied, and now in effect.');
  return EXIT.ok;
}

/**
 * Reads the access file and the files it includes. The returned paths are relative to the directory of the main file.
 */
function filesOf(path: string): { readonly main: string; readonly files: Readonly<Record<string, string>> } {
  const files: Record<string, string> = {};
  const real: string[] = [];
  loadAccess(path, {
    name: path,
    onRead: (from, text) => {
      files[relative(dirname(realpathSync(path)), from)] = text;
      real.push(from);
    },
  });
  return { main: basename(real[0]!), files };
}

/**
 * Creates a client for either a GitHub Actions job, which uses `--broker`, or an operator, who uses `--operator`. The
 * broker does not serve operators at its public URL.
 * @throws MeshpassError `usage`, `issuer_unavailable`
 */
async function asAuthor(
  flags: OptionsOf<typeof authorFlags> & { readonly acceptUnknown?: boolean | undefined },
): Promise<OperatorCall> {
  const { ACTIONS_ID_TOKEN_REQUEST_URL: url, ACTIONS_ID_TOKEN_REQUEST_TOKEN: requestToken } = process.env;
  if (flags.broker === undefined || !url || !requestToken) return createOperatorClient(flags);
  if (flags.acceptUnknown)
    throw new MeshpassError(
      'usage',
      'Jobs cannot use --accept-unknown. An operator can apply the file with it, outside CI.',
    );
  const token = await requestActionsToken(url, requestToken, flags.policyAudience);
  return createOperatorClient({ operator: flags.broker, caFile: flags.caFile }, { MESHPASS_OPERATOR_TOKEN: token });
}
