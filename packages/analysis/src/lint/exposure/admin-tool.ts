/**
 * Recognizes administration interfaces by the Service names in the tools' own charts, and by the ports that Envoy and
 * istiod use.
 */

import { type MeshView, serviceName } from '@meshpass/istio';
import { labels } from '@meshpass/istio/members';
import type { Exposure } from '../../exposure/exposure.ts';
import { destinationPort, workloadsBehind } from '../../exposure/identity.ts';
import { rewrittenMatches } from '../../routes/rewrite.ts';
import type { LintContext } from '../context.ts';

/** An administration tool. If it also has ports with another purpose, `ports` lists those of its interface. */
interface Tool {
  readonly tool: string;
  readonly ports?: readonly number[];
}

const TOOLS: Readonly<Record<string, Tool>> = {
  grafana: { tool: 'Grafana' },
  argocd: { tool: 'Argo CD' },
  'argo-cd': { tool: 'Argo CD' },
  prometheus: { tool: 'Prometheus' },
  alertmanager: { tool: 'Alertmanager' },
  kiali: { tool: 'Kiali' },
  jaeger: { tool: 'Jaeger' },
  'kubernetes-dashboard': { tool: 'the Kubernetes Dashboard' },
  pgadmin: { tool: 'pgAdmin' },
  pgadmin4: { tool: 'pgAdmin' },
  phpmyadmin: { tool: 'phpMyAdmin' },
  kibana: { tool: 'Kibana' },
  rabbitmq: { tool: 'the management of RabbitMQ', ports: [15671, 15672] },
  jenkins: { tool: 'Jenkins' },
  airflow: { tool: 'Airflow' },
  vault: { tool: 'Vault', ports: [8200, 443, 80] },
  consul: { tool: 'Consul', ports: [8500, 8501, 443, 80] },
};

/** Words that can follow the name of a tool, as in `argocd-server` and `jaeger-query`. */
const SERVED = new Set([
  ...['server', 'ui', 'web', 'webserver', 'query', 'http', 'https', 'service', 'svc', 'frontend', 'operated', 'main'],
  ...['dashboard', 'proxy', 'kong', 'master', 'controller', 'k8s', 'prometheus', 'management', 'active', 'api', 'kb'],
]);

/** The ports of Envoy's administration interface and of istiod's debug interface. */
const DEBUG_PORTS = new Map([
  [15000, "Envoy's administration interface"],
  [15004, "istiod's debug interface"],
  [15010, "istiod's configuration without TLS"],
]);
/** Ports that only count as administration interfaces if they belong to istiod. */
const ISTIOD_PORTS = new Map([
  [8080, "istiod's debug interface"],
  [15014, "istiod's debug interface"],
]);

/** Returns the name of the administration interface that an exposure leads to, or undefined if it leads to none. */
export function adminInterfaceName({ mesh }: LintContext, exposure: Exposure): string | undefined {
  const { destination, pod, external } = exposure;
  const known = serviceName(destination.host, mesh.config.clusterDomain);
  const outside = external && destination.host.split('.')[0];
  const name = known?.name ?? pod?.workload.name ?? outside ?? '';
  if (/^istiod(?:-|$)/.test(name) && known?.namespace === mesh.config.rootNamespace) return istiodPortOf(exposure);
  if (exposure.destinationPath.at(-1) === 'defaultEndpoint') return DEBUG_PORTS.get(15000);
  const ports = workloadsBehind(mesh, exposure).flatMap((one) => destinationPort(exposure, one) ?? []);
  const debug = ports.map((port) => DEBUG_PORTS.get(port)).find((one) => one !== undefined);
  return debug ?? (isForOutsiders(exposure) ? undefined : toolOf(mesh, name, exposure, ports));
}

/**
 * Returns the name of the debug interface that a port of istiod belongs to. Routes of VirtualServices are left out
 * because MP205 already reports those that lead to istiod.
 */
function istiodPortOf({ on, destination: { port = 0 } }: Exposure): string | undefined {
  return on.kind === 'VirtualService' ? undefined : (ISTIOD_PORTS.get(port) ?? DEBUG_PORTS.get(port));
}

function toolOf(mesh: MeshView, name: string, exposure: Exposure, ports: readonly number[]): string | undefined {
  const found = toolNamed(name) ?? (isPart(name) ? undefined : toolLabelled(mesh, exposure));
  if (!found?.ports) return found?.tool;
  return [exposure.destination.port ?? 0, ...ports].some((port) => found.ports?.includes(port))
    ? found.tool
    : undefined;
}

/** Finds a tool by the labels of the Service, or of the Pods that it selects or that have no Service. */
function toolLabelled(mesh: MeshView, exposure: Exposure): Tool | undefined {
  return [exposure.service?.metadata, ...workloadsBehind(mesh, exposure)]
    .map((one) => labels(one?.labels))
    .filter((one) => !isPart(one['app.kubernetes.io/component'] ?? ''))
    .flatMap((one) => ['app.kubernetes.io/name', 'app', 'k8s-app'].map((label) => toolCalled(one[label] ?? '')))
    .find((tool) => tool !== undefined);
}

/**
 * Finds a tool by its name, which must be at the end of the Service's name or be followed only by words for its
 * interface.
 */
function toolNamed(name: string): Tool | undefined {
  const words = name.toLowerCase().split('-');
  for (let end = words.length; end > 0; end--) {
    const tool = toolCalled(words.slice(Math.max(0, end - 2), end).join('-')) ?? toolCalled(words[end - 1]!);
    if (tool) return tool;
    if (!SERVED.has(words[end - 1]!) && !/^\d+$/.test(words[end - 1]!)) return undefined;
  }
  return undefined;
}

function toolCalled(name: string): Tool | undefined {
  return Object.hasOwn(TOOLS, name) ? TOOLS[name] : undefined;
}

/** Checks whether a name belongs to a component without an administration interface, such as `jaeger-collector`. */
function isPart(name: string): boolean {
  return /collector|agent|exporter|operator|adapter|gateway|webhook|injector|discovery|headless|redis|worker|metrics|repo/.test(
    name.toLowerCase(),
  );
}

/**
 * Matches paths that tools are meant to serve publicly, such as webhooks and dashboards that were shared from Grafana.
 */
const PUBLIC_PATHS = /webhook|^\/(?:api\/public\/dashboards|public-dashboards)(?:\/|$)/;

/** Checks whether the workload only receives calls that such tools expect from outside. */
function isForOutsiders({ matches, rewrite }: Exposure): boolean {
  return rewrittenMatches(matches, rewrite).every(({ uri }) => PUBLIC_PATHS.test(uri?.exact ?? uri?.prefix ?? ''));
}
