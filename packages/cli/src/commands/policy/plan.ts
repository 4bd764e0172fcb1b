import { planChange } from '@meshpass/analysis/plan';
import { defineCommand } from '../../command/define.ts';
import type { ExitCode } from '../../command/failure.ts';
import { argumentsOf, type OptionsOf, text } from '../../command/flag.ts';
import { accessFile } from '../../command/shared-flags.ts';
import { meshFlags, readAccessFile, readPolicyInput } from '../../input/policy-input.ts';
import { planExitCode, planOutput, printPlan } from '../../output/plan.ts';

const args = {
  paths: argumentsOf('manifest files and directories with Services, workloads and policies; - for standard input'),
};
const flags = {
  access: accessFile,
  from: text('<file>', 'the current access file, to show everything that the new file adds and removes'),
  ...meshFlags,
  output: planOutput,
};

export const command = defineCommand({
  about: 'Shows the resources that change, the calls that become possible or impossible, and the people affected.',
  args,
  flags,
  exitCodes: {
    0: 'can be applied',
    1: 'rejected',
    3: 'the cluster does not respond; try again',
    4: 'rejected only because it is unknown whether every grant works',
  },
  examples: ['meshpass policy plan --access new.yaml --from access.yaml --public-url https://broker.example.com mesh/'],
  page: 'docs/policy.md',
  run: plan,
});

/**
 * Plans a change.
 * @throws MeshpassError `access_*`, `manifest_*`, `usage`, `kubernetes_unavailable`, `policy_too_large`
 */
async function plan({ paths, output, ...options }: OptionsOf<typeof args & typeof flags>): Promise<ExitCode> {
  const access = readAccessFile(options.access);
  const { resources, shape, trustDomainAliases, tokens, unread } = await readPolicyInput(paths, options);
  const planned = planChange({
    access,
    cluster: resources,
    shape,
    trustDomainAliases,
    tokens,
    unread,
    ...(options.from !== undefined && { inForce: readAccessFile(options.from, '--from') }),
  });
  printPlan(planned, output);
  return planExitCode(planned);
}
