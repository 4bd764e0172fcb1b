/**
 * Patterns in the access file. They are not regular expressions. A pattern is always compared with the whole text, so
 * it cannot contain anything that escapes the anchors.
 */
import { didYouMean } from '@meshpass/istio';
import type { Operation } from '../model.ts';
import { malformedText, notValid, type Parsed, unanchoredPattern } from '../problem.ts';

/**
 * The HTTP methods in the IANA registry (https://www.iana.org/assignments/http-methods), except for `PRI`, which is
 * never used in requests.
 */
const HTTP_METHODS: readonly string[] = (
  'ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE MKACTIVITY ' +
  'MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PROPFIND PROPPATCH PUT QUERY ' +
  'REBIND REPORT SEARCH TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL'
).split(' ');

// GitHub logins consist of letters, digits and inner hyphens. The logins of enterprise-managed users also end in
// `_SHORTCODE`.
const LOGIN = /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})(?:_[A-Za-z0-9]{1,16})?$/;
const REPOSITORY_NAME = /^[A-Za-z0-9._*-]{1,100}$/;
const TEAM_SLUG = /^[a-z0-9](?:[a-z0-9_.-]{0,98}[a-z0-9])?$/i;
// The characters of an RFC 3986 path without `%`. Envoy normalizes paths before it compares them, so a pattern with an
// escape would never match.
const PATH = /^\/[A-Za-z0-9\-._~!$&'()+,;=:@/]{0,500}\*?$/;
const SEGMENT = /^[A-Za-z0-9\-._~!$&'()+,;=:@]+$/;
const GRPC_METHOD = /^([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)\/([A-Za-z_][A-Za-z0-9_]*|\*)$/;
const MAX_PATH = 501;

/** Creates a problem for a pattern where only exact text is compared. */
function noPattern(text: string, what: string) {
  return unanchoredPattern(`${JSON.stringify(text)}: ${what}s do not support patterns, so write the ${what} in full`);
}

/** Parses the login of a GitHub user or organization. */
export function parseLogin(text: string): Parsed<string> {
  if (text.includes('*')) return noPattern(text, 'login');
  return LOGIN.test(text) ? { value: text } : notValid(text, 'GitHub login');
}

/** Parses `org/slug` and converts it to lower case, because GitHub ignores case. */
export function parseTeam(text: string): Parsed<string> {
  if (text.includes('*')) return noPattern(text, 'team');
  const [organization, slug, ...rest] = text.split('/');
  if (!organization || !slug || rest.length > 0 || !LOGIN.test(organization) || !TEAM_SLUG.test(slug)) {
    return notValid(text, 'team: use ORGANIZATION/TEAM-SLUG');
  }
  return { value: text.toLowerCase() };
}

/** Parses `owner/name`. The owner is literal, while `*` in the name matches any characters. */
export function parseRepository(text: string): Parsed<string> {
  const [owner, name, ...rest] = text.split('/');
  if (owner?.includes('*')) {
    return unanchoredPattern(
      `${JSON.stringify(text)} matches repositories of other owners: write the owner in full, as in acme/api-*`,
    );
  }
  if (!owner || !name || rest.length > 0 || !LOGIN.test(owner) || !REPOSITORY_NAME.test(name)) {
    return notValid(text, 'repository: use OWNER/NAME, with * for any part of NAME');
  }
  if (name.includes('**')) return malformedText(`${JSON.stringify(text)}: use a single * to match any characters`);
  return { value: text };
}

/**
 * Whether a pattern matches the whole name of a repository. Case is ignored, as on GitHub.
 * @param fullName the `owner/name` reported by GitHub
 */
export function matchesRepository(pattern: string, fullName: string): boolean {
  const [owner, name, ...rest] = fullName.toLowerCase().split('/');
  const [wantedOwner, wantedName, ...wantedRest] = pattern.toLowerCase().split('/');
  if (!owner || !name || !wantedOwner || !wantedName || rest.length > 0 || wantedRest.length > 0) return false;
  return owner === wantedOwner && matchesGlob(wantedName, name);
}

/** Parses `ORG/admin` or `ORG/member` and converts it to lower case, because GitHub ignores case. */
export function parseOrganizationRole(text: string): Parsed<string> {
  const [organization, role, ...rest] = text.toLowerCase().split('/');
  if (text.includes('*')) return noPattern(text, 'organization role');
  if (!organization || !LOGIN.test(organization) || rest.length > 0 || (role !== 'admin' && role !== 'member')) {
    return notValid(text, 'role: use ORGANIZATION/admin or ORGANIZATION/member');
  }
  return { value: `${organization}/${role}` };
}

/**
 * Parses a full Git ref. `*` matches any characters except `/`, and a trailing `**` matches everything below that
 * point.
 */
export function parseRef(text: string): Parsed<string> {
  const [refs, kind, ...name] = text.split('/');
  if (refs !== 'refs' || !kind) {
    const tried = `refs/heads/${text.replace(/^(?:heads|branches)\//, '')}`;
    return malformedText(`${JSON.stringify(text)} is not a full ref: use ${tried}, or refs/tags/... for a tag`);
  }
  if (!['heads', 'tags', 'pull'].includes(kind)) {
    return unanchoredPattern(`${JSON.stringify(text)}: a ref must start with refs/heads/, refs/tags/ or refs/pull/`);
  }
  // These are the rules of git check-ref-format: a ref has no empty part, no "..", and no space, tilde, caret, colon,
  // question mark, bracket or backslash.
  const bad = name.length === 0 || name.some((part) => !/^[^\s~^:?[\\]+$/.test(part) || part.includes('..'));
  const deep = name.slice(0, -1).some((part) => part.includes('**')) || (name.at(-1) !== '**' && text.includes('**'));
  return bad || deep
    ? notValid(text, 'ref: * matches any characters except /, and ** is only allowed at the end')
    : { value: text };
}

/** Whether a pattern matches a whole ref. The comparison is case-sensitive, as in Git. */
export function matchesRef(pattern: string, ref: string): boolean {
  const wanted = pattern.split('/');
  const given = ref.split('/');
  const open = wanted.at(-1) === '**';
  if (open ? given.length < wanted.length : given.length !== wanted.length) return false;
  return wanted.every((part, index) => (open && index === wanted.length - 1) || matchesGlob(part, given[index]!));
}

/** Parses the name of a deployment environment. */
export function parseEnvironment(text: string): Parsed<string> {
  if (text.includes('*')) return noPattern(text, 'environment');
  return /^[^\p{Cc}]{1,255}$/u.test(text) ? { value: text } : notValid(text, 'environment name');
}

/**
 * Parses an operation such as `GET /orders/*`. The method can be `*`. The path is either exact, ends in `*`, or is an
 * Istio path template.
 */
export function parseOperation(text: string): Parsed<Operation> {
  const [method, path, ...rest] = text.split(' ');
  if (!method || !path || rest.length > 0) return notValid(text, 'operation: use METHOD /path, as in GET /orders/*');
  if (method !== '*' && !HTTP_METHODS.includes(method))
    return malformedText(
      `${JSON.stringify(method)} is not an HTTP method${didYouMean(method.toUpperCase(), HTTP_METHODS)}; use capital letters, or * for any method`,
    );
  if (!path.startsWith('/'))
    return unanchoredPattern(`${JSON.stringify(path)} does not start with "/": a path is matched from its start`);
  if (path.includes('?'))
    return malformedText(`${JSON.stringify(path)}: only the path is matched, so remove the query`);
  const problem = path.includes('{') || path.includes('}') ? whyNoTemplate(path) : undefined;
  if (problem) return malformedText(`${JSON.stringify(path)}: ${problem}`);
  if (!path.includes('{')) {
    if (path.slice(0, -1).includes('*')) {
      return unanchoredPattern(
        `${JSON.stringify(path)}: * is only allowed as the last character and matches everything that follows; use {*} for one segment`,
      );
    }
    if (!PATH.test(path))
      return malformedText(
        `${JSON.stringify(path)} contains a character that a normalised path never contains, such as %`,
      );
  }
  if (/\/\/|\/\.{1,2}(?:\/|$)/.test(path))
    return malformedText(`${JSON.stringify(path)} is not normalised, so it never matches a request`);
  return { value: { method, path } };
}

/**
 * Explains why a path is not a valid Istio template, or returns undefined if it is. `{*}` matches one segment. `{**}`
 * matches any number of segments and must come last (istio.io, Authorization Policy, `paths`). A bare `*` segment is
 * rejected, although Envoy would accept it in a template.
 */
function whyNoTemplate(path: string): string | undefined {
  if (path.length > MAX_PATH) return `is longer than ${MAX_PATH} characters`;
  let isOpen = false;
  const segments = path.slice(1).split('/');
  for (const [index, segment] of segments.entries()) {
    const isTemplate = segment === '{*}' || segment === '{**}';
    if (isTemplate && isOpen) return '{**} matches the rest of the path, so no template may follow it';
    const why = isTemplate ? undefined : whyNoSegment(segment, index === segments.length - 1);
    if (why) return why;
    if (isTemplate) isOpen = segment === '{**}';
  }
  return undefined;
}

function whyNoSegment(segment: string, isLast: boolean): string | undefined {
  if (/[{}]/.test(segment)) return 'a template must be a whole segment: {*} for one, {**} for any number';
  if (segment.includes('*')) return 'use {*} or {**} instead of * in a path with templates';
  const isPlain = SEGMENT.test(segment) || (segment === '' && isLast);
  return isPlain ? undefined : 'contains a character that a normalised path never contains, such as %';
}

/**
 * Parses a gRPC method, `package.Service/Method` or `package.Service/*`. A gRPC call is an HTTP/2 POST request (gRPC
 * over HTTP/2, "Requests").
 */
export function parseGrpcMethod(text: string): Parsed<Operation> {
  const match = GRPC_METHOD.exec(text);
  if (match) return { value: { method: 'POST', path: `/${match[1]}/${match[2]}`, grpc: true } };
  return text.includes('*')
    ? unanchoredPattern(`${JSON.stringify(text)}: * may only replace the method name, as in acme.orders.v1.Orders/*`)
    : notValid(text, 'gRPC method: use a name such as acme.orders.v1.Orders/Get');
}

/**
 * Formats an operation the way it is written in an access file.
 * @example
 * ```ts
 * import { formatOperation } from '@meshpass/access/compile';
 * formatOperation({ method: 'GET', path: '/orders/*' }); // => 'GET /orders/*'
 * ```
 */
export function formatOperation(operation: Operation): string {
  return `${operation.method} ${operation.path}`;
}

/**
 * Whether a string matches a pattern in which `*` matches any characters. Matching is greedy and only ever backtracks
 * to a single point, so it never takes exponential time.
 * @example
 * ```ts
 * import { matchesGlob } from '@meshpass/access/compile';
 * matchesGlob('team-*', 'team-payments'); // => true
 * matchesGlob('team-*', 'payments'); // => false
 * ```
 */
export function matchesGlob(pattern: string, text: string): boolean {
  let p = 0;
  let t = 0;
  let star = -1;
  let resume = 0;
  while (t < text.length) {
    if (pattern[p] === '*') {
      star = p++;
      resume = t;
    } else if (pattern[p] === text[t]) {
      p++;
      t++;
    } else if (star >= 0) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}
