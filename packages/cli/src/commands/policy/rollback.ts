import { formatPlan, type Plan } from '@meshpass/analysis/plan';
import { defineCommand } from '../../command/define.ts';
import { argument, text, toggle } from '../../command/flag.ts';
import { wholeNumber } from '../../command/host-port.ts';
import { TOKEN_ENV } from '../../command/shared-flags.ts';
import { asOperator, authorFlags } from '../../operator/policy.ts';
import { planOutput } from '../../output/plan.ts';
import { printJson, printText } from '../../output/print.ts';

export const command = defineCommand({
  about:
    'Requires the admin role. The broker plans the version again, and rejects it if the plan would be rejected now. Version 0 is the access file on disk, which the chart writes. After a rollback to version 0, later changes to that file also apply.',
  args: { version: argument('version number, from meshpass policy history; 0: the file on disk') },
  flags: {
    reason: text('<text>', 'reason for the audit log', { required: true }),
    acceptUnknown: toggle('apply even if it is unknown whether a grant works; the audit log records it'),
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
    const planned = (await asOperator(options)('POST', '/policy/rollback', {
      version: wholeNumber(version, 'VERSION'),
      reason,
      ...(acceptUnknown && { accept_unknown: true }),
    })) as Omit<Plan, 'manifests'>;
    if (output === 'json') printJson(planned);
    else printText(formatPlan(planned, output));
  },
});
