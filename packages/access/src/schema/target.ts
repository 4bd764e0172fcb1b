/** The schema for `to` entries: Service ports and the operations allowed on them. */
import { z } from 'zod';
import type { GrantTarget, Operation } from '../model.ts';
import { claimValues } from './claims.ts';
import { parseGrpcMethod, parseOperation } from './pattern.ts';
import { parseHost, parseLabels, parseNamespacePattern, parsePortName, parseServiceName } from './selection.ts';
import { omitUndefined, read, refineWithParser, report } from './text.ts';

const OPERATION = {
  description: 'METHOD /path: exact, ending in * for everything that follows, or with {*} and {**} as segments',
  pattern: '^(\\*|[A-Z][A-Z-]{0,19}) /([^ ?%*{}]|\\{\\*{1,2}\\})*\\*?$',
  examples: ['GET /orders/*', 'GET /users/{*}/orders', '* /static/{**}'],
};

const port = z.union([
  z
    .int('a port must be between 1 and 65535')
    .min(1, 'a port must be between 1 and 65535')
    .max(65535, 'a port must be between 1 and 65535'),
  read(parsePortName, {
    description: 'Name of a port of the Service',
    pattern: '^[a-z0-9-]*[a-z][a-z0-9-]*$',
  }),
]);

export const labels = z
  .record(z.string(), z.string().meta({ pattern: '^[^*]*$' }))
  .superRefine(refineWithParser(parseLabels))
  .meta({ description: 'Labels, all of which the object must have', minProperties: 1 });

export const namespacePattern = read(parseNamespacePattern, {
  description: 'A namespace, or a pattern that begins with a letter or digit, with * for any characters',
  pattern: '^[a-z0-9][a-z0-9*-]*$',
  examples: ['shop', 'preview-*'],
});

const operation = z.union([
  read(parseOperation, OPERATION),
  z
    .strictObject({ operation: read(parseOperation, OPERATION), require: claimValues })
    .transform(({ operation, require }): Operation => ({ ...operation, require })),
]);

const operations = (nothing: string) => z.array(operation).min(1, nothing).max(200, 'more than 200 operations');

/** An entry of `to`. Its output contains a separate target for each port. */
export const target = z
  .strictObject({
    service: read(parseServiceName, {
      description: 'NAME.NAMESPACE of a Service; NAME alone beside namespace or namespace_labels',
      pattern: '^[a-z0-9-]+(\\.[a-z0-9-]+)?$',
    }).optional(),
    host: read(parseHost, {
      description: 'Full host name of a Service',
      pattern: '^[a-z0-9-]+\\.[a-z0-9-]+\\.svc(\\.[a-z0-9-]+)+$',
    }).optional(),
    namespace: namespacePattern.optional(),
    namespace_labels: labels.optional(),
    labels: labels.optional(),
    port: port.optional(),
    ports: z.array(port).min(1, 'must not be empty').max(20, 'more than 20 ports').optional(),
    allow: operations('an empty list allows nothing: remove "allow" to grant the whole port').optional(),
    grpc: z
      .array(
        read(parseGrpcMethod, {
          description: 'package.Service/Method, or package.Service/* for all of its methods',
          pattern: '^[A-Za-z_][A-Za-z0-9_]*(\\.[A-Za-z_][A-Za-z0-9_]*)*/([A-Za-z_][A-Za-z0-9_]*|\\*)$',
        }),
      )
      .min(1, 'an empty list allows nothing: remove "grpc" to grant the whole port')
      .max(200, 'more than 200 methods')
      .optional(),
    deny: z
      .array(read(parseOperation, OPERATION))
      .min(1, 'must not be empty')
      .max(200, 'more than 200 operations')
      .optional(),
    require: claimValues.optional(),
  })
  .superRefine((entry, context) => {
    const { service, host, namespace, namespace_labels: namespaceLabels, labels } = entry;
    const beside = namespace !== undefined || namespaceLabels !== undefined;
    const unnamed = service === undefined && host === undefined && !beside;
    const wrong: readonly (readonly [boolean, string, ...path: string[]])[] = [
      [entry.port === undefined && entry.ports === undefined, '"port" is missing'],
      [entry.port !== undefined && entry.ports !== undefined, 'set either port or ports, not both', 'ports'],
      [
        host !== undefined && (service !== undefined || beside || labels !== undefined),
        'a host already selects one Service: remove service, namespace and labels',
        'host',
      ],
      [service?.namespace !== undefined && beside, `use service: ${service?.service} if "namespace" is set`, 'service'],
      [
        service !== undefined && service.namespace === undefined && !beside,
        `"${service?.service}" is not a valid service: use NAME.NAMESPACE`,
        'service',
      ],
      [
        unnamed && labels === undefined,
        'the target has no service: add service, host, or a selection by namespace, namespace_labels or labels',
      ],
      [
        unnamed && labels !== undefined,
        'labels alone would select Services in every namespace: add namespace or namespace_labels',
      ],
    ];
    for (const [applies, message, ...path] of wrong) if (applies) report(context, message, { path });
  })
  .transform(({ service: named, port, ports = [port!], namespace_labels: namespaceLabels, grpc, ...entry }) => {
    const { service, namespace = entry.namespace } = named ?? {};
    const allow = entry.allow || grpc ? [...(entry.allow ?? []), ...(grpc ?? [])] : undefined;
    return ports.map(
      (port): Omit<GrantTarget, 'place'> =>
        omitUndefined({ ...entry, service, namespace, namespaceLabels, port, allow }),
    );
  })
  .meta({
    oneOf: [{ required: ['port'] }, { required: ['ports'] }],
    anyOf: ['service', 'host', 'namespace', 'namespace_labels'].map((name) => ({ required: [name] })),
  });
