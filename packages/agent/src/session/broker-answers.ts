/**
 * Validates the broker's responses, which are untrusted input. The agent runs on the developer's machine, so a
 * compromised broker must not be able to inject names outside the mesh, headers, or lines into the hosts file or a
 * terminal.
 */
import { fromBinary } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import type { WorkspaceConfiguration } from '@meshpass/envoy';
import { MeshpassError, parseSpiffe } from '@meshpass/identity';
import { ConfigurationResponse, type ReachableService } from '@meshpass/identity/wire';
import type { ZodType } from 'zod';
import { serviceShortNames } from './mesh-host.ts';

/** A configuration as it was received. Its contents have not been validated. */
export interface ReceivedConfiguration extends WorkspaceConfiguration {
  readonly leftOut: readonly LeftOut[];
}

/** A configuration without its version, which is sent in the response header. */
export type ConfigurationContent = Omit<ReceivedConfiguration, 'version'>;

/** A part of istiod's configuration that the broker has omitted because every workspace would reject it. */
export type LeftOut = ConfigurationResponse['left_out'][number];

/**
 * Checks the names of all services in a response, and adds their short forms.
 * @param clusterDomain the domain that all service names must end with, such as `cluster.local`
 * @throws MeshpassError agent_broker_answer_invalid
 */
export function withServiceNames<Answer extends { readonly services: ReachableService[] }>(
  answer: Answer,
  clusterDomain: string,
): Answer {
  return { ...answer, services: answer.services.map((service, at) => checkedNames(service, at, clusterDomain)) };
}

/**
 * Parses the JSON of a configuration.
 * @throws MeshpassError agent_broker_answer_invalid
 */
export function parseConfiguration(json: unknown): ConfigurationContent {
  const { left_out: leftOut, listeners, clusters, routes } = parseBrokerResponse(ConfigurationResponse, json);
  const anys = (texts: readonly string[], member: string) =>
    texts.map((text, at) => {
      try {
        return fromBinary(AnySchema, Buffer.from(text, 'base64'));
      } catch {
        throw invalid(`${member}.${at}`, 'not a google.protobuf.Any');
      }
    });
  return {
    leftOut,
    listeners: anys(listeners, 'listeners'),
    clusters: anys(clusters, 'clusters'),
    routes: anys(routes, 'routes'),
  };
}

/**
 * Parses a response from the broker.
 * @throws MeshpassError agent_broker_answer_invalid with the path of the invalid field, but never its value
 */
export function parseBrokerResponse<T>(schema: ZodType<T>, json: unknown): T {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw invalid(issue?.path.join('.') || 'its root', issue?.message ?? 'unexpected');
}

function checkedNames(service: ReachableService, at: number, clusterDomain: string): ReachableService {
  const aliases = serviceShortNames(service.host, clusterDomain);
  if (!aliases) {
    throw invalid(
      `services.${at}.host`,
      `not NAME.NAMESPACE.svc.${clusterDomain}; if your cluster has another domain, set MESHPASS_CLUSTER_DOMAIN`,
    );
  }
  const short = aliases[0]!.slice(0, -'.svc'.length);
  const foreign = service.aliases.findIndex((alias) => alias !== short && alias !== aliases[0]);
  if (foreign >= 0) throw invalid(`services.${at}.aliases.${foreign}`, 'not a short form of the host');
  // The SPIFFE IDs issued by Istio contain the workload's namespace, which must be the same as that of its Service.
  const namespace = service.host.split('.')[1];
  const stranger = service.spiffe_ids.findIndex((id) => parseSpiffe(id)?.namespace !== namespace);
  if (stranger >= 0) throw invalid(`services.${at}.spiffe_ids.${stranger}`, 'a workload in a different namespace');
  return { ...service, aliases };
}

function invalid(where: string, what: string): MeshpassError {
  return new MeshpassError(
    'agent_broker_answer_invalid',
    `The agent rejected the broker's response because of ${where}: ${what}. The last valid response stays in use.`,
  );
}
