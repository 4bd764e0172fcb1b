/** The flags of `meshpass serve` that say whose jobs plan and apply access files. */
import { MeshpassError } from '@meshpass/identity/error';
import { wholeNumber } from '../input/host-port.ts';

export interface PolicyAuthorFlags {
  readonly policyRepository?: string;
  readonly policyOwner?: string;
  readonly policyWorkflow?: string;
  readonly policyEnvironment?: string;
  readonly policyIssuer: string;
  readonly policyRef: string;
}

/**
 * @returns the member `policyAuthors` of the broker's configuration; undefined where operators alone apply
 * @throws MeshpassError `config_invalid` where a flag is given that means nothing without another
 */
export function policyAuthorsOf(flags: PolicyAuthorFlags) {
  const { policyRepository, policyOwner, policyWorkflow, policyEnvironment } = flags;
  if (policyRepository === undefined) {
    const alone = Object.entries({ owner: policyOwner, workflow: policyWorkflow, environment: policyEnvironment });
    const [given] = alone.find(([, value]) => value !== undefined) ?? [];
    if (given === undefined) return undefined;
    throw new MeshpassError(
      'config_invalid',
      `--policy-${given} means nothing without --policy-repository; give both.`,
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
