/** The OpenAPI 3.1 document of the broker: `GET /openapi.json`. */
import { VERSION } from '@meshpass/identity';
import { createDocument, type ZodOpenApiPathsObject } from 'zod-openapi';
import { APPROVALS } from './approvals.ts';
import { described, type Operation, SCHEMES } from './operation.ts';
import { OPERATOR } from './operator.ts';
import { PUBLIC } from './public.ts';

const SERVERS = {
  public: {
    url: 'https://{broker}',
    description: 'The public listener',
    variables: { broker: { default: 'broker.example.com' } },
  },
  operator: {
    url: 'http://{operator}',
    description: 'The operator listener: inside the cluster only',
    variables: { operator: { default: '127.0.0.1:9090' } },
  },
} as const;

export const OPERATIONS: readonly Operation[] = [...PUBLIC, ...APPROVALS, ...OPERATOR];

/**
 * @param closed answers have no members but these: for tests. Clients must ignore what they do not know, so the published document
 *   does not say so.
 */
export function openapiDocument({ closed = false } = {}) {
  const paths: ZodOpenApiPathsObject = {};
  for (const one of OPERATIONS)
    paths[one.path] = { ...paths[one.path], servers: serversOf(one), [one.method]: described(one) };
  const info = {
    title: 'Meshpass broker',
    version: VERSION,
    description: 'Opens sessions of workspaces, issues their credentials, ends them, and lets operators look and act.',
    license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
  };
  return createDocument(
    {
      openapi: '3.1.0',
      info,
      paths,
      servers: [SERVERS.public, SERVERS.operator],
      tags: [
        { name: 'public', description: 'For agents, edges, CI and GitHub (docs/interfaces/protocol.md)' },
        { name: 'operator', description: 'For operators, probes and metrics (docs/operating-broker.md)' },
      ],
      components: { securitySchemes: SCHEMES },
    },
    {
      override: ({ jsonSchema, io }) => {
        if (io === 'output' && !closed && jsonSchema.additionalProperties === false)
          delete jsonSchema.additionalProperties;
      },
    },
  );
}

function serversOf({ listener, callers }: Operation) {
  return callers.includes('job') ? [SERVERS.public, SERVERS.operator] : [SERVERS[listener]];
}
