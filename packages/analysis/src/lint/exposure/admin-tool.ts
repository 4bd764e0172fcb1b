/**
 * Recognizes administration interfaces, by the names of Services as the tools' own charts write them, and by ports that
 * belong to Envoy and istiod.
 */

import { serviceName, targetPortOf } from '@meshpass/istio';
import { items, labels } from '@meshpass/istio/members';
import type { Exposure } from '../../exposure/exposure.ts';
import type { LintContext } from '../context.ts';

/** Tool, with the ports of its interface if other ports serve something else. */
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

/** Words that may follow the name of a tool, as in `argocd-server` and `jaeger-query`. */
const SERVED = new Set([
  ...['server', 'ui', 'web', 'webserver', 'query', 'http', 'https', 'service', 'svc', 'frontend', 'operated', 'main'],
  ...['dashboard', 'proxy', 'kong', 'master', 'controller', 'k8s', 'prometheus', 'management', 'active', 'api', 'kb'],
]);

/** Ports of Envoy's administration interface and of istiod's debug interface. */
const DEBUG_PORTS = new Map([
  [15000, "Envoy's administration interface"],
  [15004, "istiod's debug interface"],
  [15010, "istiod's configuration without TLS"],
]);
/** Ports of istiod itself. */
const ISTIOD_PORTS = new Map([
  [8080, "istiod's debug interface"],
  [15014, "istiod's debug interface"],
]);

/** Names the administration interface that an exposure leads to. Returns undefined if it leads to none. */
export function adminToolOf({ mesh }: LintContext, exposure: Exposure): string | undefined {
  const { destination, pod, external } = exposure;
  const known = serviceName(destination.host, mesh.config.clusterDomain);
  const outside = external && destination.host.split('.')[0];
  const name = known?.name ?? pod?.workload.name ?? outside ?? '';
  if (/^istiod(?:-|$)/.test(name) && known?.namespace === mesh.config.rootNamespace) return istiodPortOf(exposure);
  if (exposure.destinationPath.at(-1) === 'defaultEndpoint') return DEBUG_PORTS.get(15000);
  const debug = DEBUG_PORTS.get(portOf(exposure) ?? 0);
  return debug ?? (isForWebhooks(exposure) ? undefined : toolOf(name, exposure));
}

/** MP205 reports routes of VirtualServices to istiod. */
function istiodPortOf({ on, destination: { port = 0 } }: Exposure): string | undefined {
  return on.kind === 'VirtualService' ? undefined : (ISTIOD_PORTS.get(port) ?? DEBUG_PORTS.get(port));
}

function toolOf(name: string, exposure: Exposure): string | undefined {
  const { service, pod, destination } = exposure;
  const given = labels(service?.metadata.labels ?? pod?.workload.labels);
  const found =
    toolNamed(name) ?? (isPart(name) ? undefined : toolCalled(given['app.kubernetes.io/name'] ?? given.app ?? ''));
  if (!found?.ports) return found?.tool;
  return [destination.port, portOf(exposure)].some((port) => found.ports?.includes(port ?? 0)) ? found.tool : undefined;
}

/** Finds a tool whose name ends the Service's, or is followed by words for its interface. */
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

/** Whether a name is that of a part without an interface, such as `jaeger-collector`. */
function isPart(name: string): boolean {
  return /collector|agent|exporter|operator|adapter|gateway|webhook|injector|discovery|headless|redis|worker|metrics|repo/.test(
    name.toLowerCase(),
  );
}

/** Port of the Pod. */
function portOf({ destination, service, pod }: Exposure): number | undefined {
  if (pod) return pod.port;
  const ports = items(service?.spec.ports);
  const port = ports.find((one) => one.port === destination.port) ?? (ports.length === 1 ? ports[0] : undefined);
  return port && targetPortOf(new Map(), port);
}

/** Whether every match is a path for webhooks, which tools receive from outside. */
function isForWebhooks({ matches }: Exposure): boolean {
  return matches.length > 0 && matches.every(({ uri }) => /webhook/.test(uri?.exact ?? uri?.prefix ?? ''));
}
