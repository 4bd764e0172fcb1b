/** Describes the operations that a target allows. */
import type { ClaimValues, GrantTarget } from '../model.ts';
import { formatOperation } from '../schema/pattern.ts';

/**
 * Describes to developers what a target allows. This is for information only. The sidecar enforces it.
 * @returns the operations. `allow` is absent if the whole port is granted
 */
export function describeAllowed({ allow, deny, require }: GrantTarget): { allow?: string[] } {
  if (!allow && !deny && !require) return {};
  const operations = allow?.map((operation) => `${formatOperation(operation)}${demanded(operation.require)}`);
  const every = demanded(require);
  return {
    allow: [
      ...(operations ?? ['* /*']).map((operation) => `${operation}${every}`),
      ...(deny ?? []).map((operation) => `but not ${formatOperation(operation)}`),
    ],
  };
}

/** Formats required claims, as in ` (with department finance or audit)`. */
function demanded(require: ClaimValues | undefined): string {
  return Object.entries(require ?? {})
    .map(([name, values]) => ` (with ${name} ${values.join(' or ')})`)
    .join('');
}
