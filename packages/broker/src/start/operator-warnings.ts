/** What is to be mended about operators, though the broker serves. */
import type { Operators } from '@meshpass/access';
import type { BrokerConfig } from '../config.ts';
import type { MeshState } from '../reconcile/contract.ts';

/** Each says what to do, and begins in lower case: `/readyz`, the log and `meshpass check` make sentences of them. */
export function operatorWarnings(
  { breakGlass, operatorTokenFile }: Pick<BrokerConfig, 'breakGlass' | 'operatorTokenFile'>,
  mesh: Pick<MeshState, 'inForce' | 'access'>,
): readonly string[] {
  if (breakGlass) return [];
  const warnings: string[] = [];
  if (operatorTokenFile !== undefined)
    warnings.push(
      'an operator token is configured (--operator-token), and refused, because break-glass is off: take it away, or switch break-glass on (--break-glass)',
    );
  if (mesh.inForce() && !namesAnybody(mesh.access().operators))
    warnings.push(
      'nobody can operate this broker: the access file in force gives nobody a role, and break-glass is off. Add "operators" to the access file (docs/install/operators.md)',
    );
  return warnings;
}

function namesAnybody(operators: Operators | undefined): boolean {
  if (!operators) return false;
  return operators.serviceAccounts.length > 0 || Object.values(operators.roles).some((who) => who.length > 0);
}
