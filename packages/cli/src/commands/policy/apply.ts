import { realpathSync } from 'node:fs';
import { basename, dirname, relative } from 'node:path';
import { loadAccess } from '@meshpass/access';
import { formatPlan, type Plan, refusals } from '@meshpass/analysis/plan';
import { MeshpassError } from '@meshpass/identity/error';
import { defineCommand } from '../../command/define.ts';
import { EXIT, type ExitCode } from '../../command/failure.ts';
import { type OptionsOf, text, toggle } from '../../command/flag.ts';
import { accessFile } from '../../command/shared-flags.ts';
import { namingFlag } from '../../input/text-file.ts';
import { AUTHOR_ENV, asAuthor, authorFlags } from '../../operator/policy.ts';
import { planExitCode, planOutput } from '../../output/plan.ts';
import { printJson, printLines, printText } from '../../output/print.ts';

const flags = {
  access: accessFile,
  plan: text('<id>', 'apply only if the plan still has this ID'),
  dryRun: toggle('plan without applying'),
  acceptUnknown: toggle('apply even if it is unknown whether a grant works; the audit log records it'),
  reason: text('<text>', 'reason for the audit log; required for operators'),
  ...authorFlags,
  output: planOutput,
};

export const command = defineCommand({
  about:
    'A GitHub Actions job calls the broker at --broker with its OIDC token; an operator with the admin role calls it at --operator.',
  flags,
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
});

type Planned = Omit<Plan, 'manifests'>;

/**
 * Plans and applies the file.
 * @throws MeshpassError of the broker: `plan_stale`, `plan_refused`, `plan_unauthorized`, `access_*`
 */
async function apply(options: OptionsOf<typeof flags>): Promise<ExitCode> {
  const order = namingFlag('--access', () => filesOf(options.access));
  const { acceptUnknown, output, reason } = options;
  const planned = (await (await asAuthor(options))('POST', '/policy/plan', order)) as Planned;
  if (output === 'json') printJson(planned);
  else printText(formatPlan(planned, output));
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
    ...(reason !== undefined && { reason }),
  });
  if (output !== 'json') printLines('', 'Applied, and now in effect.');
  return EXIT.ok;
}

/** Reads the file and its includes, keyed by path relative to its directory. */
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
