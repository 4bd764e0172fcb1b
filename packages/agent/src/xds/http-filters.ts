/**
 * What the agent puts into every HTTP listener on the loopback: the identity token, and answers that explain themselves. Routes of the
 * broker may configure filters by their names, but none that begins with `meshpass` (packages/envoy).
 */
import type { JsonObject } from '@bufbuild/protobuf';
import { AGENT_SOURCE, TYPE_URL_PREFIX } from '@meshpass/envoy';
import type { ReachableService } from '@meshpass/identity/wire';
import { CODE_HEADER } from '../access-log/loggers.ts';
import { tokenOf } from '../sds/secrets.ts';

const HTTP = `${TYPE_URL_PREFIX}envoy.extensions.filters.http`;
const FORWARDED_HOST = 'x-forwarded-host';
/** What Envoy's RBAC filter answers, and nothing else but by chance: 403, as text, of this length. */
const POLICY_ANSWER_LENGTH = '19';

/** The token goes with every request; what a program sent in that header does not. @param header of the mesh */
export function tokenFilter(header: string, grant: string): JsonObject {
  return {
    name: 'meshpass.token',
    typed_config: {
      '@type': `${HTTP}.credential_injector.v3.CredentialInjector`,
      overwrite: true,
      credential: {
        name: 'envoy.http.injected_credentials.generic',
        typed_config: {
          '@type': `${TYPE_URL_PREFIX}envoy.extensions.http.injected_credentials.generic.v3.Generic`,
          credential: { name: tokenOf(grant), sds_config: AGENT_SOURCE },
          header,
        },
      },
    },
  };
}

/**
 * Refuses what came through a forwarded port: a Codespace may forward any port that listens, and its forwarding names the host by
 * which it was called.
 * @param names of the service
 */
export function foreignHostFilter(names: readonly string[]): JsonObject {
  const header = { name: FORWARDED_HOST };
  const own = `(${names.map((name) => name.replaceAll('.', '\\.')).join('|')})(:[0-9]+)?`;
  return {
    name: 'meshpass.foreign_host',
    typed_config: {
      '@type': `${HTTP}.rbac.v3.RBAC`,
      rules: {
        action: 'DENY',
        policies: {
          'foreign-host': {
            principals: [{ any: true }],
            permissions: [
              {
                and_rules: {
                  rules: [
                    { header: { ...header, present_match: true } },
                    { not_rule: { header: { ...header, string_match: { safe_regex: { regex: own } } } } },
                  ],
                },
              },
            ],
          },
        },
      },
    },
  };
}

/** Replaces the answer of a sidecar's policy by one that says what is granted. */
export function explainFilter(service: ReachableService, sessionId: string): JsonObject {
  const equals = (name: string, value: string) => ({
    single_predicate: {
      input: {
        name: 'header',
        typed_config: {
          '@type': `${TYPE_URL_PREFIX}envoy.type.matcher.v3.HttpResponseHeaderMatchInput`,
          header_name: name,
        },
      },
      value_match: { exact: value },
    },
  });
  return {
    name: 'meshpass.explain',
    typed_config: {
      '@type': `${HTTP}.custom_response.v3.CustomResponse`,
      custom_response_matcher: {
        matcher_list: {
          matchers: [
            {
              predicate: {
                and_matcher: {
                  predicate: [
                    equals(':status', '403'),
                    equals('content-length', POLICY_ANSWER_LENGTH),
                    equals('content-type', 'text/plain'),
                  ],
                },
              },
              on_match: {
                action: {
                  name: 'explain',
                  typed_config: {
                    '@type': `${TYPE_URL_PREFIX}envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy`,
                    body_format: { text_format_source: { inline_string: policyRefusal(service, sessionId) } },
                    response_headers_to_add: [code('agent_policy_refused')],
                  },
                },
              },
            },
          ],
        },
      },
    },
  };
}

/**
 * What to run after a refusal. It names no path: somebody else may have chosen that, and what stands here is pasted into shells.
 */
export const NEXT_COMMAND = 'meshpass explain --last';

/** In Envoy's format: `%` is doubled in what is not one of its operators. */
function policyRefusal(service: ReachableService, sessionId: string): string {
  const allowed = service.allow?.length ? service.allow.join(', ') : 'the whole port';
  return (
    `meshpass: %REQ(:METHOD)% %REQ(:PATH)% refused by policy at ${literal(shortName(service))}: your grant ` +
    `${literal(service.grant)} allows ${literal(allowed)} (hop workload, session ${literal(sessionId)}, request %STREAM_ID%: ` +
    `give them to your platform team, they are in the audit log). Next: ${NEXT_COMMAND}\n`
  );
}

/** The answers that Envoy gives itself, as `local_reply_config` of an HTTP connection manager: as text, or as JSON where that is asked for. */
export function localReplies(sessionId: string): JsonObject {
  const lost = { response_flag_filter: { flags: ['UF', 'UC', 'UH', 'UT', 'LR', 'UR', 'URX', 'NC'] } };
  return {
    mappers: [
      ...replies(isStatus(401), {
        code: 'agent_credentials_expired',
        sessionId,
        text:
          'The credentials of this workspace have expired and the broker has not given others yet; the agent keeps trying. ' +
          'meshpass status tells why.',
        more: { status_code: 503 },
      }),
      ...replies(both(isStatus(403), { header_filter: { header: { name: FORWARDED_HOST, present_match: true } } }), {
        code: 'agent_foreign_host',
        sessionId,
        text: 'This listener answers for services of the mesh only, and the request names %REQ(X-FORWARDED-HOST)%.',
        more: { status_code: 421 },
      }),
      ...replies(lost, {
        code: 'agent_edge_unreachable',
        sessionId,
        text:
          'The mesh did not answer (%RESPONSE_CODE_DETAILS%). Your access may have just ended, or the service is down: ' +
          'meshpass status tells which.',
      }),
    ],
  };
}

interface Reply {
  readonly code: string;
  readonly sessionId?: string;
  /** In Envoy's format. */
  readonly text: string;
  readonly more?: JsonObject;
}

/** Two mappers of local replies: the first for programs that ask for JSON. */
export function replies(filter: JsonObject, { code: errorCode, sessionId, text, more = {} }: Reply): JsonObject[] {
  const mapper = (when: JsonObject, body: JsonObject) => ({
    ...{ filter: when, body_format_override: body, headers_to_add: [code(errorCode)] },
    ...more,
  });
  const known =
    sessionId === undefined ? '' : ` (session ${literal(sessionId)}, request %STREAM_ID%; next: ${NEXT_COMMAND})`;
  const json = { name: 'accept', string_match: { safe_regex: { regex: '.*application/([a-z0-9.]+[+])?json.*' } } };
  return [
    mapper(both(filter, { header_filter: { header: json } }), {
      json_format: {
        ...{ error: 'access_denied', error_code: errorCode, error_description: text },
        ...(sessionId !== undefined && {
          session_id: literal(sessionId),
          request_id: '%STREAM_ID%',
          next: NEXT_COMMAND,
        }),
      },
    }),
    mapper(filter, { text_format_source: { inline_string: `meshpass: ${text}${known}\n` } }),
  ];
}

function both(one: JsonObject, other: JsonObject): JsonObject {
  return { and_filter: { filters: [one, other] } };
}

export function isStatus(status: number): JsonObject {
  return {
    status_code_filter: { comparison: { op: 'EQ', value: { default_value: status, runtime_key: 'meshpass.none' } } },
  };
}

/** The header by which programs recognise an answer of the agent. */
export function code(errorCode: string): JsonObject {
  return {
    header: { key: CODE_HEADER, value: errorCode },
    append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
  };
}

/** Text as part of a format of Envoy, in which `%` begins an operator. */
export function literal(text: string): string {
  return text.replaceAll('%', '%%');
}

/** The shortest name of a service. */
export function shortName(service: ReachableService): string {
  return service.aliases.reduce((short, alias) => (alias.length < short.length ? alias : short), service.host);
}
