/**
 * Routes that lead out of the session's grants answer 403 in place of that; the broker wrote the answer, for every session with these
 * grants. What only this workspace knows is added here: the session, and how a program recognises the answer.
 */
import type { Message } from '@bufbuild/protobuf';
import { messageOf } from '@meshpass/envoy';
import { code, NEXT_COMMAND } from './http-filters.ts';

export const NOT_GRANTED = 'agent_route_not_granted';

/** Changes the message. @param configuration `envoy.config.route.v3.RouteConfiguration` */
export function explainRoutes<T extends Message>(configuration: T, sessionId: string): T {
  for (const { routes } of (configuration as unknown as RouteConfigurationMessage).virtualHosts) {
    for (const route of routes) {
      const { action } = route;
      const body = action.case === 'directResponse' ? action.value.body?.specifier : undefined;
      const said = body?.case === 'inlineString' ? refusalIn(body.value) : undefined;
      if (!body || !said) continue;
      body.value = JSON.stringify({ ...said, hop: 'workspace', session_id: sessionId, next: NEXT_COMMAND });
      route.responseHeadersToAdd.push(messageOf('envoy.config.core.v3.HeaderValueOption', code(NOT_GRANTED)));
    }
  }
  return configuration;
}

/** What the broker wrote, where it is that: a VirtualService may answer as it likes. */
export function refusalIn(text: string): { readonly error_description: string } | undefined {
  try {
    const said = JSON.parse(text) as Record<string, unknown> | null;
    if (said?.error_code !== NOT_GRANTED || typeof said.error_description !== 'string') return undefined;
    return { ...said, error_description: said.error_description };
  } catch {
    return undefined;
  }
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
