/**
 * Whether a file changes whom Meshpass trusts, who operates it, or which webhook answers in the name of others: whoever applies such a
 * file may give themselves any role, or any approval.
 */
import type { Access } from '@meshpass/access';

/** @param inForce undefined: everything of the new file is a change */
export function changesTrust(next: Access, inForce: Access | undefined): boolean {
  return inForce === undefined || meaning(next) !== meaning(inForce);
}

/** Places change with every line that is added elsewhere, and the order of keys means nothing. */
function meaning({ trust, operators, webhooks }: Access): string {
  return JSON.stringify([trust, operators, webhooks], (name, value: unknown) => {
    if (name === 'place') return undefined;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
    return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}
