/** Keys of earlier versions, with messages about their replacement. */

import { pageUrl } from '@meshpass/identity/documentation/url';

const OPERATORS: Readonly<Record<string, string>> = {
  secondPerson:
    '"secondPerson" was removed in favor of review in Git: have a job apply access files from a repository whose default branch requires ' +
    `a review (${pageUrl('docs/access/ways-to-change-access.md')}), assign "admin" and "security-officer" to as few people as possible, and remove this key`,
  confirm:
    '"confirm" was removed in favor of a fixed interval: the issuer confirms an operator every five minutes. Remove this key',
};

/** @returns undefined if no earlier version had the key there */
export function formerKey(path: readonly PropertyKey[], key: string): string | undefined {
  const isOperators = path.length === 1 && path[0] === 'operators';
  return isOperators && Object.hasOwn(OPERATORS, key) ? OPERATORS[key] : undefined;
}
