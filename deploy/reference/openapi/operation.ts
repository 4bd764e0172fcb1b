/** An operation of the HTTP API, from the schemas that the broker itself uses. */
import { ErrorResponse } from '@meshpass/identity/wire';
import { z } from 'zod';
import type { ZodOpenApiOperationObject } from 'zod-openapi';

/** Clients that may call an operation. Several: any of them. */
export type Caller = 'anyone' | 'proof' | 'session' | 'edge' | 'github' | 'webhook' | 'job' | 'operator';

export interface Operation {
  readonly method: 'get' | 'post' | 'delete';
  /** Parameters in braces. */
  readonly path: string;
  readonly listener: 'public' | 'operator';
  readonly callers: readonly Caller[];
  readonly id: string;
  readonly summary: string;
  readonly description?: string;
  readonly params?: z.ZodObject;
  readonly query?: z.ZodObject;
  readonly headers?: z.ZodObject;
  readonly request?: Content & { readonly required?: boolean };
  /** Responses by status, except refusals. */
  readonly answers: Readonly<Record<string, { readonly description: string } & Partial<Content>>>;
}

interface Content {
  /** Absent: JSON. */
  readonly type?: string;
  /** Absent: text, or bytes. */
  readonly schema?: z.ZodType;
}

export const SCHEMES = {
  session: {
    type: 'http',
    scheme: 'DPoP',
    description:
      'The session token, bound to the key of a DPoP proof in the header `DPoP` of each request (RFC 9449). docs/interfaces/protocol.md',
  },
  proof: {
    type: 'apiKey',
    in: 'header',
    name: 'DPoP',
    description: 'A DPoP proof alone: it names the key that the session will be bound to (RFC 9449)',
  },
  edge: {
    type: 'http',
    scheme: 'bearer',
    description: "A token of the edge's Kubernetes ServiceAccount, for the audience `meshpass-broker`",
  },
  github: {
    type: 'apiKey',
    in: 'header',
    name: 'Authorization',
    description: 'The token of the audit log stream, `Splunk TOKEN` or `Bearer TOKEN`',
  },
  webhook: {
    type: 'apiKey',
    in: 'header',
    name: 'webhook-signature',
    description: 'A signature by one of the secrets of the webhook, over id, timestamp and body (Standard Webhooks)',
  },
  job: {
    type: 'http',
    scheme: 'bearer',
    description: 'The OIDC token of a job of GitHub Actions, for the audience `meshpass-policy`',
  },
  operator: {
    type: 'http',
    scheme: 'DPoP',
    description:
      'The token of an operator (`POST /operator/session`), bound to the key of a DPoP proof in the header `DPoP` of each request (RFC 9449); or, where break-glass is on, `Bearer` and the token that the broker was started with (`--operator-token`, `--break-glass`)',
  },
} as const;

const REFUSAL = ErrorResponse.meta({
  id: 'Refusal',
  description: 'Every refusal. `error_code` is stable: docs/troubleshooting.md',
});

/** Converts an operation to the generator's format. */
export function described(one: Operation): ZodOpenApiOperationObject {
  const { id, summary, description, params, query, headers, request } = one;
  const answers = Object.entries(one.answers).map(([status, { description, ...content }]) => {
    const body = content.schema || content.type ? { content: contentOf(content) } : {};
    return [status, { description, ...body }] as const;
  });
  return {
    operationId: id,
    summary,
    ...(description !== undefined && { description }),
    tags: [one.listener],
    security: one.callers.map((caller) => (caller === 'anyone' ? {} : { [caller]: [] })),
    ...((params || query || headers) && {
      requestParams: { ...(params && { path: params }), ...(query && { query }), ...(headers && { header: headers }) },
    }),
    ...(request && { requestBody: { required: request.required ?? true, content: contentOf(request) } }),
    responses: {
      ...Object.fromEntries(answers),
      default: { description: 'A refusal', content: { 'application/json': { schema: REFUSAL } } },
    },
  };
}

function contentOf({ type = 'application/json', schema = z.string() }: Content) {
  return { [type]: { schema } };
}
