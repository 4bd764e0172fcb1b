/**
 * The patterns of the access file. None is a regular expression: a pattern is matched whole by comparing characters, so
 * that nothing in it can escape its anchors.
 */
import { isDnsLabel } from '@meshpass/identity';
import type { Operation } from './model.ts';
import { invalid, type Parsed } from './problem.ts';

// GitHub logins: letters, digits and inner hyphens; `_SHORTCODE` ends the logins of enterprise-managed users.
const LOGIN = /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})(?:_[A-Za-z0-9]{1,16})?$/;
const REPOSITORY_NAME = /^[A-Za-z0-9._*-]{1,100}$/;
const TEAM_SLUG = /^[a-z0-9](?:[a-z0-9_.-]{0,98}[a-z0-9])?$/i;
const METHOD = /^(?:\*|[A-Z][A-Z-]{0,19})$/;
// RFC 3986 pchar and `/`, without `%`: Envoy normalises a path before it compares, an escape in a pattern would never match.
const PATH = /^\/[A-Za-z0-9\-._~!$&'()+,;=:@/]{0,500}\*?$/;

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

/** `GET /orders/*`: a method or `*`, a path, exact or with `*` as its last character. */
export function parseOperation(text: string): Parsed<Operation> {
  const [method, path, ...rest] = text.split(' ');
  if (!method || !path || rest.length > 0)
    return invalid(`${JSON.stringify(text)}: write METHOD /path, as in GET /orders/*`);
  if (!METHOD.test(method)) return invalid(`${JSON.stringify(method)} is no method: capital letters, or * for any`);
  if (!path.startsWith('/'))
    return unanchored(`${JSON.stringify(path)} does not begin with "/": a path is matched from its beginning`);
  if (path.includes('?'))
    return invalid(`${JSON.stringify(path)}: the query is not part of what is matched, leave it out`);
  if (path.slice(0, -1).includes('*')) {
    return unanchored(
      `${JSON.stringify(path)}: * may only be the last character, where it stands for everything that follows`,
    );
  }
  if (!PATH.test(path))
    return invalid(`${JSON.stringify(path)} has a character that no normalised path has, such as % or {`);
  if (/\/\/|\/\.{1,2}(?:\/|$)/.test(path))
    return invalid(`${JSON.stringify(path)} is not normalised, so no request has it`);
  return { value: { method, path } };
}

/** Writes an operation as the file does. */
export function formatOperation(operation: Operation): string {
  return `${operation.method} ${operation.path}`;
}

/** `NAME.NAMESPACE`. */
export function parseService(text: string): Parsed<{ readonly service: string; readonly namespace: string }> {
  if (text.includes('*')) return unanchored(`${JSON.stringify(text)}: services are granted one by one, by name`);
  const [service, namespace, ...rest] = text.split('.');
  if (service && namespace && rest.length > 0 && rest[0] === 'svc') {
    return invalid(`${JSON.stringify(text)}: write the service as ${service}.${namespace}`);
  }
  if (!service || !namespace || rest.length > 0 || !isDnsLabel(service) || !isDnsLabel(namespace)) {
    return invalid(`${JSON.stringify(text)} is no service: write NAME.NAMESPACE`);
  }
  return { value: { service, namespace } };
}

const ROLE = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/;

/** `CLUSTERROLE@NAMESPACE`. */
export function parseRole(text: string): Parsed<{ readonly role: string; readonly namespace: string }> {
  const [role, namespace, ...rest] = text.split('@');
  if (text.includes('*')) return unanchored(`${JSON.stringify(text)}: roles are granted one by one, by name`);
  if (!role || !namespace || rest.length > 0 || !isDnsLabel(namespace)) {
    return invalid(`${JSON.stringify(text)} is no role: write CLUSTERROLE@NAMESPACE, as in view@shop`);
  }
  if (role === 'cluster-admin' || role.startsWith('system:')) {
    return invalid(
      `${JSON.stringify(role)} is Kubernetes' own and is not given to workspaces: use view, edit or a role of yours`,
    );
  }
  if (!ROLE.test(role)) return invalid(`${JSON.stringify(role)} is no name of a ClusterRole`);
  if (namespace === 'kube-system') return invalid('kube-system holds the keys of the cluster: no role is given there');
  return { value: { role, namespace } };
}

/** Greedy matching of `*` with one step back: linear in practice, never exponential. */
function matchesGlob(pattern: string, text: string): boolean {
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
