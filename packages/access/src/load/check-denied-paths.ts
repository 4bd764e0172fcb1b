/**
 * Finds denied operations, and operations with required claims, that another spelling of their path bypasses. A server
 * may return the same resource for many spellings (`//`, `;x`, `%20`, another case), while Envoy compares only one.
 * Such a path must therefore cover every allowed path that it overlaps.
 */
import type { GrantTarget, Operation } from '../model.ts';
import { type AccessFileProblem, problemAt } from '../problem.ts';
import { formatOperation } from '../schema/pattern.ts';

const EVERYTHING: readonly Operation[] = [{ method: '*', path: '/*' }];

/**
 * @returns a finding for each operation in `deny`, or with its own `require`, that is narrower than an operation in
 *   `allow`
 */
export function checkDeniedPaths({ allow = EVERYTHING, deny = [], place }: GrantTarget): readonly AccessFileProblem[] {
  const problem = (what: string, { path, method }: Operation): AccessFileProblem => {
    const wider = formatOperation({ method, path });
    const message =
      `${what} has no effect on other spellings of the path, such as // or ;x, which ${JSON.stringify(wider)} allows. ` +
      `List only the intended operations in "allow", or use ${path} as a whole`;
    return problemAt(place, message);
  };
  const denied = deny.flatMap((one) => {
    const wider = allow.find((other) => isWider(other, one));
    return wider ? [problem(`deny ${JSON.stringify(formatOperation(one))}`, wider)] : [];
  });
  const required = allow.flatMap((one) => {
    const demands = JSON.stringify(one.require);
    const wider =
      one.require && allow.find((other) => JSON.stringify(other.require) !== demands && isWider(other, one));
    return wider ? [problem(`"require" of ${JSON.stringify(formatOperation(one))}`, wider)] : [];
  });
  return [...denied, ...required];
}

/** Whether an allowed operation covers more than this one. */
function isWider(allowed: Operation, part: Operation): boolean {
  return meet(part.method, allowed.method) && !covers(part.path, allowed.path) && !areApart(part.path, allowed.path);
}

function meet(one: string, other: string): boolean {
  return one === other || one === '*' || other === '*';
}

/** Whether a path covers all of another. */
function covers(wide: string, narrow: string): boolean {
  return wide === narrow || (isPrefix(wide) && headOf(narrow).startsWith(headOf(wide)));
}

/** True if no path matches both. */
function areApart(one: string, other: string): boolean {
  const [a, b] = [headOf(one), headOf(other)];
  if (isExact(one) && isExact(other)) return one !== other;
  if (isExact(one)) return !a.startsWith(b);
  if (isExact(other)) return !b.startsWith(a);
  return !a.startsWith(b) && !b.startsWith(a);
}

function isExact(path: string): boolean {
  return !/[*{]/.test(path);
}

/** Whether a path has the form `/orders/*`, without templates. */
function isPrefix(path: string): boolean {
  return path.endsWith('*') && !path.includes('{');
}

/** Returns the fixed beginning of a path. */
function headOf(path: string): string {
  return path.split(/[*{]/)[0]!;
}
