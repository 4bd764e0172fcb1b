/**
 * Builds the HTTP filters that the agent adds to every loopback listener. They refuse callers other than programs in
 * the workspace, and produce error responses that explain the cause. The broker's routes may configure filters by name,
 * except for those whose name starts with `meshpass` (packages/envoy).
 */
import type { JsonObject } from '@bufbuild/protobuf';
import type { ReachableService } from '@meshpass/identity/wire';
import { ERROR_CODE_HEADER } from '../access-log/loggers.ts';
import { extension } from '../envoy/json.ts';

const FORWARDED_HOST = 'x-forwarded-host';
const FETCH_SITE = 'sec-fetch-site';
const FOREIGN_ORIGIN = 'foreign-origin';
/**
 * The content length of the text that Envoy's RBAC filter sends with a 403. Other responses have this length only by
 * coincidence.
 */
const POLICY_ANSWER_LENGTH = '19';

/**
 * Builds a mutation that removes the token header from a program's request before a route is selected.
 * @param header the header for the mesh's identity token
 */
export function removeForgedTokenHeader(header: string): JsonObject {
  const mutation = 'http.early_header_mutation.header_mutation';
  return extension(`envoy.${mutation}`, `extensions.${mutation}.v3.HeaderMutation`, {
    mutations: [{ remove: header }],
  });
}

/**
 * Builds a filter that refuses all callers except programs in the workspace.
 *
 * Requests through a forwarded port are refused, because a Codespace may forward any listening port. They can be
 * recognized by the original host, which is added when a request is forwarded.
 *
 * Requests that a browser sends on behalf of a page of another site are refused as well. A browser sends the page's
 * origin with every WebSocket, and with every request except for plain reads (Fetch, "Origin header"; RFC 6455, section
 * 10.2). `Sec-Fetch-Site: same-origin` means that no other site is involved: a page has called its own server, which
 * forwards the request with the browser's headers, as development servers do.
 * @param names the names of the service
 */
export function foreignCallerFilter(names: readonly string[]): JsonObject {
  const own = `(${names.map((name) => name.replaceAll('.', '\\.')).join('|')})(:[0-9]+)?`;
  const policies = {
    'foreign-host': deniesAny([isOther(FORWARDED_HOST, own)]),
    [FOREIGN_ORIGIN]: deniesAny([
      isOther(FETCH_SITE, 'same-origin|none'),
      allOf(isAbsent(FETCH_SITE), isOther('origin', `https?://${own}`)),
    ]),
  };
  const rules = { action: 'DENY', policies };
  return extension('meshpass.foreign_caller', 'extensions.filters.http.rbac.v3.RBAC', { rules });
}

function deniesAny(rules: JsonObject[]): JsonObject {
  return { principals: [{ any: true }], permissions: rules };
}

/**
 * Matches a header that is present but has a different value.
 * @param own a regular expression that matches the entire value
 */
function isOther(name: string, own: string): JsonObject {
  return allOf(
    { header: { name, present_match: true } },
    { not_rule: { header: { name, string_match: { safe_regex: { regex: own } } } } },
  );
}

function isAbsent(name: string): JsonObject {
  return { not_rule: { header: { name, present_match: true } } };
}

function allOf(one: JsonObject, other: JsonObject): JsonObject {
  return { and_rules: { rules: [one, other] } };
}

/** The session whose request was refused. */
interface Caller {
  readonly sessionId: string;
  /** The contact for access requests. Defaults to the platform team. */
  readonly contact?: string | undefined;
}

/** Builds a filter that replaces a policy refusal from a sidecar with a response that lists what the grant allows. */
export function explainFilter(
  service: ReachableService,
  { sessionId, contact = 'your platform team' }: Caller,
): JsonObject {
  const allowed = service.allow?.length ? service.allow.join(', ') : 'the whole port';
  // In Envoy's format, a literal `%` must be doubled.
  const text =
    `meshpass: %REQ(:METHOD)% %REQ(:PATH)% refused by policy at ${escapeFormatText(shortName(service))}: your grant ` +
    `${escapeFormatText(service.grant)} allows ${escapeFormatText(allowed)} (hop workload, session ${escapeFormatText(sessionId)}, request %STREAM_ID%; ` +
    `share these with ${escapeFormatText(contact)} to find the call in the audit log). Next: ${EXPLAIN_COMMAND}\n`;
  const equals = (name: string, value: string) => ({
    single_predicate: {
      input: extension('header', 'type.matcher.v3.HttpResponseHeaderMatchInput', { header_name: name }),
      value_match: { exact: value },
    },
  });
  const isRefusal = [
    equals(':status', '403'),
    equals('content-length', POLICY_ANSWER_LENGTH),
    equals('content-type', 'text/plain'),
  ];
  const response = 'extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy';
  const action = extension('explain', response, {
    body_format: { text_format_source: { inline_string: text } },
    response_headers_to_add: [code('agent_policy_refused')],
  });
  const matchers = [{ predicate: { and_matcher: { predicate: isRefusal } }, on_match: { action } }];
  return extension('meshpass.explain', 'extensions.filters.http.custom_response.v3.CustomResponse', {
    custom_response_matcher: { matcher_list: { matchers } },
  });
}

/**
 * The command that explains the last refusal. Users paste it into their shell, so it does not contain the path, which
 * may have been chosen by an attacker.
 */
export const EXPLAIN_COMMAND = 'meshpass explain --last';

/**
 * Builds the error responses that Envoy itself generates, as the `local_reply_config` of an HTTP connection manager.
 * They are in JSON if the request accepts it, and in plain text otherwise.
 */
export function localReplies(sessionId: string): JsonObject {
  const lost = { response_flag_filter: { flags: ['UF', 'UC', 'UH', 'UT', 'LR', 'UR', 'URX', 'NC'] } };
  return {
    mappers: [
      ...localReplyMappers(statusCodeMatcher(401), {
        code: 'agent_credentials_expired',
        sessionId,
        text:
          'The credentials of this workspace have expired and the broker has not issued new ones yet. The agent keeps trying. ' +
          'Run meshpass status to see the reason.',
        more: { status_code: 503 },
      }),
      ...localReplyMappers(
        both(statusCodeMatcher(403), { header_filter: { header: { name: FORWARDED_HOST, present_match: true } } }),
        {
          code: 'agent_foreign_host',
          sessionId,
          text: 'This listener serves only services of the mesh, but the request is for %REQ(X-FORWARDED-HOST)%.',
          more: { status_code: 421 },
        },
      ),
      ...localReplyMappers(isDetailed(`rbac_access_denied_matched_policy[${FOREIGN_ORIGIN}]`), {
        code: 'agent_foreign_host',
        sessionId,
        text:
          'This listener serves only programs in this workspace, but a browser sent this request for a page of another site. Have your ' +
          'own server call the service.',
        more: { status_code: 421 },
      }),
      ...localReplyMappers(lost, {
        code: 'agent_edge_unreachable',
        sessionId,
        text:
          'The mesh did not respond (%RESPONSE_CODE_DETAILS%). Your access may have just ended, or the service may be down. ' +
          'Run meshpass status to see which.',
      }),
    ],
  };
}

interface Reply {
  readonly code: string;
  readonly sessionId?: string;
  /** The text of the response, in Envoy's format. */
  readonly text: string;
  readonly more?: JsonObject;
}

/** Builds two local reply mappers. The first one is for requests that accept JSON. */
export function localReplyMappers(
  filter: JsonObject,
  { code: errorCode, sessionId, text, more = {} }: Reply,
): JsonObject[] {
  const mapper = (when: JsonObject, body: JsonObject) => ({
    filter: when,
    body_format_override: body,
    headers_to_add: [code(errorCode)],
    ...more,
  });
  const known =
    sessionId === undefined
      ? ''
      : ` (session ${escapeFormatText(sessionId)}, request %STREAM_ID%; next: ${EXPLAIN_COMMAND})`;
  const json = { name: 'accept', string_match: { safe_regex: { regex: '.*application/([a-z0-9.]+[+])?json.*' } } };
  return [
    mapper(both(filter, { header_filter: { header: json } }), {
      json_format: {
        error: 'access_denied',
        error_code: errorCode,
        error_description: text,
        ...(sessionId !== undefined && {
          session_id: escapeFormatText(sessionId),
          request_id: '%STREAM_ID%',
          next: EXPLAIN_COMMAND,
        }),
      },
    }),
    mapper(filter, { text_format_source: { inline_string: `meshpass: ${text}${known}\n` } }),
  ];
}

function both(one: JsonObject, other: JsonObject): JsonObject {
  return { and_filter: { filters: [one, other] } };
}

/**
 * Builds an access log filter that matches the response code details of a request.
 * @param details the value as it appears in Envoy's access log
 */
function isDetailed(details: string): JsonObject {
  const expression = `response.code_details == '${details}'`;
  return {
    extension_filter: extension('cel', 'extensions.access_loggers.filters.cel.v3.ExpressionFilter', { expression }),
  };
}

/** Builds an access log filter that matches a status code. */
export function statusCodeMatcher(status: number): JsonObject {
  return {
    status_code_filter: { comparison: { op: 'EQ', value: { default_value: status, runtime_key: 'meshpass.none' } } },
  };
}

/** Builds the header with the error code, which identifies responses generated by the agent itself. */
export function code(errorCode: string): JsonObject {
  return {
    header: { key: ERROR_CODE_HEADER, value: errorCode },
    append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
  };
}

/** Escapes text for Envoy's formats, in which `%` starts an operator. */
export function escapeFormatText(text: string): string {
  return text.replaceAll('%', '%%');
}

/** Returns the shortest name of a service, which may be an alias. */
export function shortName(service: ReachableService): string {
  return service.aliases.reduce((short, alias) => (alias.length < short.length ? alias : short), service.host);
}
