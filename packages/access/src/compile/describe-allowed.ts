/** Describes allowed operations as text. */
import type { ClaimValues, GrantTarget } from '../model.ts';
import { formatOperation } from '../schema/pattern.ts';

/**
 * Describes to the developer what a target allows. This is informational only; the sidecar enforces it.
 * @returns no `allow` if the whole port is granted
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

/** Formats required claims: ` (with department finance or audit)`. */
function demanded(require: ClaimValues | undefined): string {
  return Object.entries(require ?? {})
    .map(([name, values]) => ` (with ${name} ${values.join(' or ')})`)
    .join('');
}
