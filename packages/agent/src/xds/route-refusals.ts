/**
 * Completes the refusals in the broker's routes: 403 for routes outside the session's grants, and 502 for routes that
 * workspaces do not support. The broker writes the same response for all sessions with the same grants. The agent adds
 * the session, and a header that allows programs to recognize the response.
 */
import type { Message } from '@bufbuild/protobuf';
import { messageFromJson } from '@meshpass/envoy';
import { parseJson } from '@meshpass/identity';
import { code, EXPLAIN_COMMAND } from './http-filters.ts';

const CODES = ['agent_route_not_granted', 'agent_route_unsupported'];

/**
 * Adds the session to all refusals in a route configuration, which is modified in place.
 * @param configuration an `envoy.config.route.v3.RouteConfiguration`
 */
export function addSessionToRefusals<T extends Message>(configuration: T, sessionId: string): T {
  for (const { routes } of (configuration as unknown as RouteConfigurationMessage).virtualHosts) {
    for (const route of routes) {
      const { action } = route;
      const body = action.case === 'directResponse' ? action.value.body?.specifier : undefined;
      const said = body?.case === 'inlineString' ? parseRefusal(body.value) : undefined;
      if (!body || !said) continue;
      body.value = JSON.stringify({ ...said, hop: 'workspace', session_id: sessionId, next: EXPLAIN_COMMAND });
      route.responseHeadersToAdd.push(messageFromJson('envoy.config.core.v3.HeaderValueOption', code(said.error_code)));
    }
  }
  return configuration;
}

/**
 * Parses a refusal from the broker. Returns undefined for any other text, because a VirtualService may return any
 * response.
 */
export function parseRefusal(
  text: string,
): { readonly error_code: string; readonly error_description: string } | undefined {
  const said = (parseJson(text) ?? {}) as Readonly<Record<string, unknown>>;
  const { error_code, error_description } = said;
  if (typeof error_code !== 'string' || !CODES.includes(error_code)) return undefined;
  return typeof error_description === 'string' ? { ...said, error_code, error_description } : undefined;
}

interface RouteConfigurationMessage {
  readonly virtualHosts: readonly {
    readonly routes: readonly {
      readonly action: {
        readonly case?: string;
        readonly value: { readonly body?: { readonly specifier: { readonly case?: string; value: string } } };
      };
      readonly responseHeadersToAdd: Message[];
    }[];
  }[];
}
