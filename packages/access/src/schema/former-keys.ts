/** Keys of earlier versions, with messages about their replacement. */

import { pageUrl } from '@meshpass/identity/documentation/url';

const OPERATORS: Readonly<Record<string, string>> = {
  secondPerson:
    '"secondPerson" is gone, and review in Git replaces it: have a job apply access files from a repository whose default branch needs ' +
    `a review (${pageUrl('docs/access/ways-to-change-access.md')}), give "admin" and "security-officer" to as few people as you can, and remove this key`,
  confirm:
    '"confirm" is gone, and a fixed time replaces it: the issuer confirms an operator every five minutes; remove this key',
};

/** @returns undefined if no earlier version had the key there */
export function formerKey(path: readonly PropertyKey[], key: string): string | undefined {
  const isOperators = path.length === 1 && path[0] === 'operators';
  return isOperators && Object.hasOwn(OPERATORS, key) ? OPERATORS[key] : undefined;
}
