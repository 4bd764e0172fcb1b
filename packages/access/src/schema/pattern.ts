/**
 * The patterns of the access file. None is a regular expression: a pattern is matched whole by comparing characters, so
 * that nothing in it can escape its anchors.
 */
import type { Operation } from '../model.ts';
import { invalid, type Parsed } from '../problem.ts';

// GitHub logins: letters, digits and inner hyphens; `_SHORTCODE` ends the logins of enterprise-managed users.
const LOGIN = /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})(?:_[A-Za-z0-9]{1,16})?$/;
const REPOSITORY_NAME = /^[A-Za-z0-9._*-]{1,100}$/;
const TEAM_SLUG = /^[a-z0-9](?:[a-z0-9_.-]{0,98}[a-z0-9])?$/i;
const METHOD = /^(?:\*|[A-Z][A-Z-]{0,19})$/;
// RFC 3986 pchar and `/`, without `%`: Envoy normalises a path before it compares, an escape in a pattern would never match.
const PATH = /^\/[A-Za-z0-9\-._~!$&'()+,;=:@/]{0,500}\*?$/;
const SEGMENT = /^[A-Za-z0-9\-._~!$&'()+,;=:@]+$/;
const GRPC_METHOD = /^([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)\/([A-Za-z_][A-Za-z0-9_]*|\*)$/;
const MAX_PATH = 501;

/** A GitHub login or organization. */
export function parseLogin(text: string): Parsed<string> {
  if (text.includes('*')) return unanchored(`${JSON.stringify(text)}: a login has no pattern, name it in full`);
  return LOGIN.test(text) ? { value: text } : invalid(`${JSON.stringify(text)} is no GitHub login`);
}

/** `org/slug`; in lower case, as GitHub compares them. */
export function parseTeam(text: string): Parsed<string> {
  if (text.includes('*')) return unanchored(`${JSON.stringify(text)}: a team has no pattern, name it in full`);
  const [organization, slug, ...rest] = text.split('/');
  if (!organization || !slug || rest.length > 0 || !LOGIN.test(organization) || !TEAM_SLUG.test(slug)) {
    return invalid(`${JSON.stringify(text)} is no team: write ORGANIZATION/TEAM-SLUG`);
  }
  return { value: text.toLowerCase() };
}

/** `owner/name` where the owner is literal and `*` in the name stands for any characters. */
export function parseRepository(text: string): Parsed<string> {
  const [owner, name, ...rest] = text.split('/');
  if (owner?.includes('*')) {
    return unanchored(
      `${JSON.stringify(text)} matches repositories of strangers: write the owner in full, as in acme/api-*`,
    );
  }
  if (!owner || !name || rest.length > 0 || !LOGIN.test(owner) || !REPOSITORY_NAME.test(name)) {
    return invalid(`${JSON.stringify(text)} is no repository: write OWNER/NAME, with * for any part of NAME`);
  }
  if (name.includes('**')) return invalid(`${JSON.stringify(text)}: write * once where anything may stand`);
  return { value: text };
}

/**
 * Whether a repository is meant by a pattern: whole, without regard to case, as GitHub compares names.
 * @param fullName `owner/name` as GitHub gives it
 */
export function matchesRepository(pattern: string, fullName: string): boolean {
  const [owner, name, ...rest] = fullName.toLowerCase().split('/');
  const [wantedOwner, wantedName, ...wantedRest] = pattern.toLowerCase().split('/');
  if (!owner || !name || !wantedOwner || !wantedName || rest.length > 0 || wantedRest.length > 0) return false;
  return owner === wantedOwner && matchesGlob(wantedName, name);
}

/** `ORG/admin` or `ORG/member`; in lower case, as GitHub compares logins. */
export function parseOrganizationRole(text: string): Parsed<string> {
  const [organization, role, ...rest] = text.toLowerCase().split('/');
  if (text.includes('*')) return unanchored(`${JSON.stringify(text)}: a role has no pattern, name the organization`);
  if (!organization || !LOGIN.test(organization) || rest.length > 0 || (role !== 'admin' && role !== 'member')) {
    return invalid(`${JSON.stringify(text)} is no role: write ORGANIZATION/admin or ORGANIZATION/member`);
  }
  return { value: `${organization}/${role}` };
}

/** A full ref: `*` stands for any characters but `/`, `**` at the end for everything below. */
export function parseRef(text: string): Parsed<string> {
  const [refs, kind, ...name] = text.split('/');
  if (refs !== 'refs' || !kind) {
    const tried = `refs/heads/${text.replace(/^(?:heads|branches)\//, '')}`;
    return invalid(`${JSON.stringify(text)} is no full ref: write ${tried}, or refs/tags/... for a tag`);
  }
  if (!['heads', 'tags', 'pull'].includes(kind)) {
    return unanchored(`${JSON.stringify(text)}: a ref begins with refs/heads/, refs/tags/ or refs/pull/`);
  }
  // git check-ref-format: no empty part, no "..", no space, tilde, caret, colon, question mark, bracket or backslash.
  const bad = name.length === 0 || name.some((part) => !/^[^\s~^:?[\\]+$/.test(part) || part.includes('..'));
  const deep = name.slice(0, -1).some((part) => part.includes('**')) || (name.at(-1) !== '**' && text.includes('**'));
  return bad || deep
    ? invalid(`${JSON.stringify(text)} is no ref: * stands for any characters but /, ** only for all of the end`)
    : { value: text };
}

/** Whether a full ref is meant by a pattern: whole and in its case, as git compares refs. */
export function matchesRef(pattern: string, ref: string): boolean {
  const wanted = pattern.split('/');
  const given = ref.split('/');
  const open = wanted.at(-1) === '**';
  if (open ? given.length < wanted.length : given.length !== wanted.length) return false;
  return wanted.every((part, index) => (open && index === wanted.length - 1) || matchesGlob(part, given[index]!));
}

/** Name of a deployment environment. */
export function parseEnvironment(text: string): Parsed<string> {
  if (text.includes('*')) return unanchored(`${JSON.stringify(text)}: an environment has no pattern, name it in full`);
  return /^[^\p{Cc}]{1,255}$/u.test(text) ? { value: text } : invalid(`${JSON.stringify(text)} is no environment`);
}

/** `GET /orders/*`: a method or `*`, a path, exact, with `*` as its last character, or a template of Istio. */
export function parseOperation(text: string): Parsed<Operation> {
  const [method, path, ...rest] = text.split(' ');
  if (!method || !path || rest.length > 0)
    return invalid(`${JSON.stringify(text)}: write METHOD /path, as in GET /orders/*`);
  if (!METHOD.test(method)) return invalid(`${JSON.stringify(method)} is no method: capital letters, or * for any`);
  if (!path.startsWith('/'))
    return unanchored(`${JSON.stringify(path)} does not begin with "/": a path is matched from its beginning`);
  if (path.includes('?'))
    return invalid(`${JSON.stringify(path)}: the query is not part of what is matched, leave it out`);
  const problem = path.includes('{') || path.includes('}') ? whyNoTemplate(path) : undefined;
  if (problem) return invalid(`${JSON.stringify(path)}: ${problem}`);
  if (!path.includes('{')) {
    if (path.slice(0, -1).includes('*')) {
      return unanchored(
        `${JSON.stringify(path)}: * may only be the last character, where it stands for everything that follows; {*} stands for one segment`,
      );
    }
    if (!PATH.test(path))
      return invalid(`${JSON.stringify(path)} has a character that no normalised path has, such as %`);
  }
  if (/\/\/|\/\.{1,2}(?:\/|$)/.test(path))
    return invalid(`${JSON.stringify(path)} is not normalised, so no request has it`);
  return { value: { method, path } };
}

/**
 * Istio's path templates: `{*}` is one segment, `{**}` any number of them and the last template of a path
 * (istio.io, Authorization Policy, `paths`). Envoy takes a bare `*` beside them for a segment too, so it is refused.
 */
function whyNoTemplate(path: string): string | undefined {
  if (path.length > MAX_PATH) return `is longer than ${MAX_PATH} characters`;
  const segments = path.slice(1).split('/');
  let open = false;
  for (const [index, segment] of segments.entries()) {
    const isTemplate = segment === '{*}' || segment === '{**}';
    if (isTemplate && open) return '{**} stands for all that follows: no template may come after it';
    if (isTemplate) open = segment === '{**}';
    else if (/[{}]/.test(segment)) return 'only the whole segments {*} (one) and {**} (any number) are templates';
    else if (segment.includes('*')) return 'write {*} or {**} instead of * in a path with templates';
    else if (!SEGMENT.test(segment) && !(segment === '' && index === segments.length - 1))
      return 'has a character that no normalised path has, such as %';
  }
  return undefined;
}

/** `package.Service/Method` or `package.Service/*`: an HTTP/2 POST (gRPC over HTTP/2, "Requests"). */
export function parseGrpcMethod(text: string): Parsed<Operation> {
  const match = GRPC_METHOD.exec(text);
  if (match) return { value: { method: 'POST', path: `/${match[1]}/${match[2]}`, grpc: true } };
  return text.includes('*')
    ? unanchored(`${JSON.stringify(text)}: * stands only for all methods of one service, as in acme.orders.v1.Orders/*`)
    : invalid(`${JSON.stringify(text)} is no gRPC method: write it like acme.orders.v1.Orders/Get`);
}

/**
 * Writes an operation as the file does.
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
 * Whether a text matches a pattern in which `*` stands for any characters. Greedy with one step back: never exponential.
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

function unanchored(message: string): Parsed<never> {
  return { code: 'access_file_pattern_unanchored', message };
}
