/**
 * Clients that plan and apply access files: as a GitHub Actions job if its OIDC token is available, or as an operator.
 */
import { requestActionsToken } from '@meshpass/agent/session/actions-token';
import { MeshpassError } from '@meshpass/identity/error';
import { type OptionsOf, text } from '../command/flag.ts';
import { broker, operatorFlags, TOKEN_ENV } from '../command/shared-flags.ts';
import { type OperatorCall, operatorClient } from './client.ts';

export const authorFlags = {
  ...operatorFlags,
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

/**
 * Creates an operator's client.
 * @throws MeshpassError `usage` if there is no token or session
 */
export function asOperator(flags: OptionsOf<typeof authorFlags>): OperatorCall {
  return operatorClient(flags, process.env);
}

/**
 * Creates a client for a GitHub Actions job at `--broker`, or for an operator at `--operator`. The public URL does not
 * serve operators.
 * @throws MeshpassError `usage`, `issuer_unavailable`
 */
export async function asAuthor(
  flags: OptionsOf<typeof authorFlags> & { readonly acceptUnknown?: boolean | undefined },
): Promise<OperatorCall> {
  const { ACTIONS_ID_TOKEN_REQUEST_URL: url, ACTIONS_ID_TOKEN_REQUEST_TOKEN: requestToken } = process.env;
  if (flags.broker === undefined || !url || !requestToken) return asOperator(flags);
  if (flags.acceptUnknown)
    throw new MeshpassError(
      'usage',
      'Jobs cannot use --accept-unknown. An operator can apply the file with it, outside CI.',
    );
  const token = await requestActionsToken(url, requestToken, flags.policyAudience);
  return operatorClient({ operator: flags.broker, caFile: flags.caFile }, { MESHPASS_OPERATOR_TOKEN: token });
}
