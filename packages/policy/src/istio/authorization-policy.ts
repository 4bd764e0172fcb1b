/** What an AuthorizationPolicy does as a whole, whatever its rules say. Source: pilot/pkg/security/authz/builder of Istio 1.31. */
import type { Metadata } from './object.ts';
import type { AuthorizationAction, AuthorizationPolicySpec } from './security.ts';

export const DRY_RUN = 'istio.io/dry-run';

/** What Go's `strconv.ParseBool` takes for true. */
const TRUE: readonly unknown[] = ['1', 't', 'T', 'TRUE', 'true', 'True'];

/**
 * Whether an AuthorizationPolicy is in dry run: its effect is only logged. A value that is no boolean to Go (`yes`, `on`, `tRUE`) leaves
 * the policy in force. No other kind has a dry run: ask of AuthorizationPolicies only. Source: `isDryRun` in builder.go.
 */
export function isDryRun({ metadata }: { readonly metadata: Pick<Metadata, 'annotations'> }): boolean {
  return TRUE.includes(metadata.annotations?.[DRY_RUN]);
}

/** The action of a policy; ALLOW where it names none, as in the API's enumeration. */
export function actionOf({ spec }: { readonly spec?: Pick<AuthorizationPolicySpec, 'action'> }): AuthorizationAction {
  return spec?.action ?? 'ALLOW';
}
