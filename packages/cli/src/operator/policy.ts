/** How the broker is asked to plan and apply access files: by the OIDC token of a GitHub Actions job where there is one, else by an operator. */
import { type OptionsOf, text } from '../command/flag.ts';
import { broker, OPERATOR_ORIGIN, operatorFlags, TOKEN_ENV } from '../command/shared-flags.ts';
import { actionsToken } from './actions-token.ts';
import { type OperatorCall, operatorClient } from './client.ts';

/** `--broker` with an operator token and without `--operator` is the operator listener: what it was before `--operator` existed here. */
export const authorFlags = {
  ...operatorFlags,
  operator: text('<url>', "origin of the broker's operator listener, for example through kubectl port-forward", {
    env: 'MESHPASS_OPERATOR',
    defaultText: `--broker, else ${OPERATOR_ORIGIN}`,
  }),
  broker,
  policyAudience: text('<name>', "audience of a GitHub Actions job's OIDC token", {
    env: 'MESHPASS_POLICY_AUDIENCE',
    default: 'meshpass-policy',
  }),
};

export const AUTHOR_ENV = {
  ...TOKEN_ENV,
  ACTIONS_ID_TOKEN_REQUEST_URL: 'set by GitHub Actions in jobs with `id-token: write`; such a job calls --broker',
};

/** @throws MeshpassError `usage` where there is no token */
export function asOperator(flags: OptionsOf<typeof authorFlags>): OperatorCall {
  return operatorClient({ ...flags, operator: flags.operator ?? flags.broker ?? OPERATOR_ORIGIN }, process.env);
}

/**
 * As a job of GitHub Actions, or as an operator. Each token of a job is good for one change.
 * @throws MeshpassError `usage`, `issuer_unavailable`
 */
export async function asAuthor(flags: OptionsOf<typeof authorFlags>): Promise<OperatorCall> {
  const token = flags.broker === undefined ? undefined : await actionsToken(flags.policyAudience, process.env);
  if (token === undefined || flags.broker === undefined) return asOperator(flags);
  return operatorClient({ operator: flags.broker, caFile: flags.caFile }, { MESHPASS_OPERATOR_TOKEN: token });
}
