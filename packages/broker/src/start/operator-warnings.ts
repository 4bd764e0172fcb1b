/** Warns about operator settings that need fixing even though the broker is serving. */

import type { Operators } from '@meshpass/access';
import { pageUrl } from '@meshpass/identity/documentation/url';
import type { MeshState } from '../mesh/index.ts';
import type { BrokerConfig } from './config.ts';

/**
 * Returns warnings with instructions. Each begins in lower case, because `/readyz`, the log and `meshpass check` build
 * it into sentences.
 */
export function operatorWarnings(
  { breakGlass, operatorTokenFile }: Pick<BrokerConfig, 'breakGlass' | 'operatorTokenFile'>,
  mesh: Pick<MeshState, 'inForce' | 'access'>,
): readonly string[] {
  if (breakGlass) return [];
  const warnings: string[] = [];
  if (operatorTokenFile !== undefined)
    warnings.push(
      'an operator token is configured (--operator-token) but rejected, because break-glass is off: remove the token, or turn break-glass on (--break-glass)',
    );
  if (mesh.inForce() && !namesAnybody(mesh.access().operators))
    warnings.push(
      `this broker has no operators: the access file in force grants no roles, and break-glass is off. Add "operators" to the access file (${pageUrl('docs/install/operators.md')})`,
    );
  return warnings;
}

function namesAnybody(operators: Operators | undefined): boolean {
  if (!operators) return false;
  return operators.serviceAccounts.length > 0 || Object.values(operators.roles).some((who) => who.length > 0);
}
