/** Finds the tokens in a request wherever RequestAuthentication rules expect them, and removes them. */
import type { JwtRule } from '@meshpass/istio';
import { compare } from '@meshpass/istio/members';
import type { Call } from './call.ts';

export type RequestHeaders = Readonly<Record<string, string | undefined>>;

/** A request whose tokens are being checked. */
export interface Run {
  readonly call: Call;
  /** The headers of the call, which are copied before they are changed. */
  headers: RequestHeaders | undefined;
  path: string;
  claims: Readonly<Record<string, unknown>> | undefined;
}

export interface ExtractedToken {
  readonly text: string;
  /** Removes the token from the request before it is forwarded to the workload. Has no effect on cookies. */
  readonly takeAway: (run: Run) => void;
}

/**
 * Creates a function that finds the tokens that a rule reads. It searches headers, query parameters and cookies, in
 * this order, and each of them in alphabetical order.
 */
export function tokenLocations(rule: JwtRule): (run: Run) => readonly ExtractedToken[] {
  const { fromHeaders = [], fromParams = [], fromCookies = [] } = rule;
  const usual = fromHeaders.length + fromParams.length + fromCookies.length === 0;
  const headers = usual ? [{ name: 'authorization', prefix: 'Bearer ' }] : fromHeaders;
  const inHeaders = headers
    .map(({ name, prefix = '' }) => ({ name: name.toLowerCase(), prefix }))
    .sort((a, b) => compare(a.name + a.prefix, b.name + b.prefix))
    .filter(
      (one, index, all) => index === 0 || one.name + one.prefix !== all[index - 1]!.name + all[index - 1]!.prefix,
    );
  const inParams = [...new Set(usual ? ['access_token'] : fromParams)].sort(compare);
  const inCookies = [...new Set(fromCookies)].sort(compare);
  return (run) => {
    const found: ExtractedToken[] = [];
    for (const { name, prefix } of inHeaders) {
      const value = run.headers?.[name];
      const text = value === undefined ? undefined : afterPrefix(value, prefix);
      if (text !== undefined) found.push({ text, takeAway: (all) => setRequestHeader(all, name, undefined) });
    }
    if (inParams.length > 0) found.push(...tokensInQuery(run.path, inParams));
    for (const name of inCookies) {
      const text = cookie(run.headers?.cookie, name);
      if (text !== undefined) found.push({ text, takeAway: () => {} });
    }
    return found;
  };
}

function tokensInQuery(path: string, names: readonly string[]): readonly ExtractedToken[] {
  const mark = path.indexOf('?');
  if (mark < 0) return [];
  const query = new URLSearchParams(path.slice(mark + 1));
  return names.flatMap((name) => {
    const text = query.get(name);
    return text === null ? [] : [{ text, takeAway: (all: Run) => removeParameter(all, name) }];
  });
}

function removeParameter(run: Run, name: string): void {
  const mark = run.path.indexOf('?');
  const left = new URLSearchParams(run.path.slice(mark + 1));
  left.delete(name);
  run.path = `${run.path.slice(0, mark)}${left.size > 0 ? `?${left}` : ''}`;
}

const TOKEN_START = /[A-Za-z0-9\-_.]/;

/**
 * Returns the token that follows a prefix. Envoy accepts the prefix anywhere in the value, and the token then starts at
 * the next character that tokens can contain.
 */
function afterPrefix(value: string, prefix: string): string | undefined {
  if (prefix === '') return value;
  const at = value.indexOf(prefix);
  if (at < 0) return undefined;
  if (at === 0 && TOKEN_START.test(value.charAt(prefix.length))) return value.slice(prefix.length);
  const after = value.slice(at + prefix.length);
  const start = after.search(TOKEN_START);
  return start < 0 ? value : after.slice(start);
}

function cookie(header: string | undefined, name: string): string | undefined {
  for (const pair of header?.split(';') ?? []) {
    const [key, ...value] = pair.split('=');
    if (key!.trim() === name)
      return value
        .join('=')
        .trim()
        .replace(/^"(.*)"$/, '$1');
  }
  return undefined;
}

/** Sets a request header, or removes it if the value is undefined. */
export function setRequestHeader(run: Run, name: string, value: string | undefined): void {
  run.headers = { ...run.headers, [name]: value };
}
