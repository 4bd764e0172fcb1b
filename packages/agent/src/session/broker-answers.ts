/**
 * What the broker answers, read as input from outside. The agent runs on the developer's machine, and a broker that was
 * taken over must gain nothing there: not a name that is not the mesh's, a header, a line of the hosts file or of a terminal.
 */
import { fromBinary } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import type { WorkspaceConfiguration } from '@meshpass/envoy';
import { MeshpassError } from '@meshpass/identity/error';
import { parseSpiffe } from '@meshpass/identity/spiffe';
import {
  CertificateResponse,
  ConfigurationResponse,
  HeartbeatResponse,
  type ReachableService,
  ServicesResponse,
  SessionResponse,
  TokenResponse,
} from '@meshpass/identity/wire';
import type { ZodType } from 'zod';
import { aliasesOf } from './mesh-host.ts';

/** Each takes parsed JSON. @throws MeshpassError agent_broker_answer_invalid, naming the member and never its value */
export interface BrokerAnswers {
  session(json: unknown): OpenedSession;
  services(json: unknown): ServicesResponse;
  certificates(json: unknown): CertificateResponse;
  token(json: unknown): TokenResponse;
  heartbeat(json: unknown): HeartbeatResponse;
  configuration(json: unknown): ReceivedConfiguration;
}

/** A session, with its first configuration where that came with it. */
export interface OpenedSession extends Omit<SessionResponse, 'configuration'> {
  readonly configuration: ReceivedConfiguration | undefined;
}

/** A configuration as it came: nothing in it has been checked. */
export interface ReceivedConfiguration extends WorkspaceConfiguration {
  readonly leftOut: readonly LeftOut[];
}

/** What the broker left out of istiod's configuration because no workspace would accept it. */
export interface LeftOut {
  /** Type URL. */
  readonly what: string;
  readonly where: string;
  readonly count: number;
}

/** @param clusterDomain that the names of services must end in: `cluster.local` */
export function brokerAnswers(clusterDomain: string): BrokerAnswers {
  const withNames = <Answer extends { readonly services: ReachableService[] }>(answer: Answer): Answer => ({
    ...answer,
    services: answer.services.map((service, at) => checkedNames(service, at, clusterDomain)),
  });
  return {
    session: (json) => {
      const { configuration, ...opened } = withNames(readAnswer(SessionResponse, json));
      return { ...opened, configuration: configuration && received(configuration) };
    },
    services: (json) => withNames(readAnswer(ServicesResponse, json)),
    certificates: (json) => readAnswer(CertificateResponse, json),
    token: (json) => readAnswer(TokenResponse, json),
    heartbeat: (json) => readAnswer(HeartbeatResponse, json),
    configuration: (json) => received(readAnswer(ConfigurationResponse, json)),
  };
}

function received({
  left_out: leftOut,
  version,
  listeners,
  clusters,
  routes,
}: ConfigurationResponse): ReceivedConfiguration {
  const anys = (texts: readonly string[], member: string) =>
    texts.map((text, at) => {
      try {
        return fromBinary(AnySchema, Buffer.from(text, 'base64'));
      } catch {
        throw invalid(`${member}.${at}`, 'not a google.protobuf.Any');
      }
    });
  return {
    ...{ version, leftOut },
    listeners: anys(listeners, 'listeners'),
    clusters: anys(clusters, 'clusters'),
    routes: anys(routes, 'routes'),
  };
}

/** @throws MeshpassError agent_broker_answer_invalid, naming the member and never its value */
export function readAnswer<T>(schema: ZodType<T>, json: unknown): T {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw invalid(issue?.path.join('.') || 'its top', issue?.message ?? 'unexpected');
}

function checkedNames(service: ReachableService, at: number, clusterDomain: string): ReachableService {
  const aliases = aliasesOf(service.host, clusterDomain);
  if (!aliases) {
    throw invalid(
      `services.${at}.host`,
      `not NAME.NAMESPACE.svc.${clusterDomain}; if your cluster has another domain, set MESHPASS_CLUSTER_DOMAIN`,
    );
  }
  const short = aliases[0]!.slice(0, -'.svc'.length);
  const foreign = service.aliases.findIndex((alias) => alias !== short && alias !== aliases[0]);
  if (foreign >= 0) throw invalid(`services.${at}.aliases.${foreign}`, 'not a short form of the host');
  // Istio names a workload by the namespace it runs in, which is the one of its Service.
  const namespace = service.host.split('.')[1];
  const stranger = service.spiffe_ids.findIndex((id) => parseSpiffe(id)?.namespace !== namespace);
  if (stranger >= 0) throw invalid(`services.${at}.spiffe_ids.${stranger}`, 'a workload of another namespace');
  return { ...service, aliases };
}

function invalid(where: string, what: string): MeshpassError {
  return new MeshpassError(
    'agent_broker_answer_invalid',
    `The answer of the broker was not taken, because of ${where}: ${what}. What was valid before stays in use.`,
  );
}
