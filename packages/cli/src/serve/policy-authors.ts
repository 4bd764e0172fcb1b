/** Defines the flags of `meshpass serve` that determine which CI jobs may plan and apply access files. */
import { MeshpassError } from '@meshpass/identity/error';
import { type OptionsOf, text, wholeNumber, withEnvironmentVariables } from '../command/flag.ts';

export const policyAuthorFlags = withEnvironmentVariables({
  policyRepository: wholeNumber('<id>', 'GitHub id of the repository whose jobs plan and apply access files', {
    defaultText: 'only operators',
  }),
  policyOwner: wholeNumber('<id>', "GitHub id of the repository's owner"),
  policyWorkflow: text(
    '<workflow>',
    'job_workflow_ref of jobs that apply: OWNER/REPOSITORY/.github/workflows/FILE@REF',
  ),
  policyEnvironment: text('<name>', 'GitHub environment of jobs that apply'),
  policyRef: text('<ref>', 'Git ref whose jobs apply', { default: 'refs/heads/main' }),
  policyIssuer: text('<url>', "issuer of the jobs' tokens", { default: 'https://token.actions.githubusercontent.com' }),
});
export type PolicyAuthorFlags = OptionsOf<typeof policyAuthorFlags>;

/**
 * Converts the flags into the broker's configuration.
 * @returns the `policyAuthors` setting, or undefined if only operators may apply access files
 * @throws MeshpassError `config_invalid` if a flag requires another flag that is missing
 */
export function parsePolicyAuthors(flags: PolicyAuthorFlags) {
  const { policyRepository, policyOwner, policyWorkflow, policyEnvironment } = flags;
  if (policyRepository === undefined) {
    const alone = Object.entries({ owner: policyOwner, workflow: policyWorkflow, environment: policyEnvironment });
    const [given] = alone.find(([, value]) => value !== undefined) ?? [];
    if (given === undefined) return undefined;
    throw new MeshpassError(
      'config_invalid',
      `--policy-${given} has no effect without --policy-repository. Pass both.`,
    );
  }
  if (policyWorkflow === undefined)
    throw new MeshpassError(
      'config_invalid',
      '--policy-repository requires --policy-workflow, the only workflow whose jobs may apply: OWNER/REPOSITORY/.github/workflows/FILE@REF.',
    );
  return {
    issuer: flags.policyIssuer,
    repositoryId: policyRepository,
    ownerId: policyOwner,
    ref: flags.policyRef,
    workflow: policyWorkflow,
    environment: policyEnvironment,
  };
}
