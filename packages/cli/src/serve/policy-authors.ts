/** The flags of `meshpass serve` for the jobs that plan and apply access files. */
import { MeshpassError } from '@meshpass/identity/error';
import { type OptionsOf, text } from '../command/flag.ts';
import { wholeNumber } from '../command/host-port.ts';

export const policyAuthorFlags = {
  policyRepository: text('<id>', 'GitHub id of the repository whose jobs plan and apply access files', {
    env: 'MESHPASS_POLICY_REPOSITORY',
    defaultText: 'only operators do',
  }),
  policyOwner: text('<id>', "GitHub id of the repository's owner", { env: 'MESHPASS_POLICY_OWNER' }),
  policyWorkflow: text(
    '<workflow>',
    'job_workflow_ref of jobs that apply: OWNER/REPOSITORY/.github/workflows/FILE@REF',
    {
      env: 'MESHPASS_POLICY_WORKFLOW',
    },
  ),
  policyEnvironment: text('<name>', 'GitHub environment of jobs that apply', { env: 'MESHPASS_POLICY_ENVIRONMENT' }),
  policyRef: text('<ref>', 'Git ref whose jobs apply', { env: 'MESHPASS_POLICY_REF', default: 'refs/heads/main' }),
  policyIssuer: text('<url>', "issuer of the jobs' tokens", {
    env: 'MESHPASS_POLICY_ISSUER',
    default: 'https://token.actions.githubusercontent.com',
  }),
};
export type PolicyAuthorFlags = OptionsOf<typeof policyAuthorFlags>;

/**
 * @returns the member `policyAuthors` of the broker's configuration; undefined where only operators apply
 * @throws MeshpassError `config_invalid` where a flag needs another one
 */
export function policyAuthorsOf(flags: PolicyAuthorFlags) {
  const { policyRepository, policyOwner, policyWorkflow, policyEnvironment } = flags;
  if (policyRepository === undefined) {
    const alone = Object.entries({ owner: policyOwner, workflow: policyWorkflow, environment: policyEnvironment });
    const [given] = alone.find(([, value]) => value !== undefined) ?? [];
    if (given === undefined) return undefined;
    throw new MeshpassError(
      'config_invalid',
      `--policy-${given} has no effect without --policy-repository: give both.`,
    );
  }
  if (policyWorkflow === undefined)
    throw new MeshpassError(
      'config_invalid',
      '--policy-repository needs --policy-workflow, the one workflow whose jobs may apply: OWNER/REPOSITORY/.github/workflows/FILE@REF.',
    );
  return {
    issuer: flags.policyIssuer,
    repositoryId: wholeNumber(policyRepository, '--policy-repository'),
    ...(policyOwner !== undefined && { ownerId: wholeNumber(policyOwner, '--policy-owner') }),
    ref: flags.policyRef,
    workflow: policyWorkflow,
    environment: policyEnvironment,
  };
}
