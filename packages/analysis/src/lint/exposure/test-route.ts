/**
 * Recognizes test routes: routes intended for a few people and protected only by obscurity. They are identified by
 * names and labels, or by the access file: a service granted to specific people is not intended for the public.
 */

import { serviceName } from '@meshpass/istio';
import { labels } from '@meshpass/istio/members';
import type { Exposure } from '../../exposure/exposure.ts';
import type { LintContext } from '../context.ts';

const WORDS = new Set([
  ...['test', 'tests', 'testing', 'dev', 'develop', 'development', 'staging', 'stage', 'stg', 'preview', 'previews'],
  ...['sandbox', 'qa', 'uat', 'debug', 'ephemeral', 'experimental', 'experiment', 'tmp', 'temp', 'scratch', 'pr'],
]);
const ENVIRONMENT_LABELS = ['env', 'environment', 'stage', 'tier', 'meshpass.dev/environment'];
/** Explicitly marks a VirtualService, Service or Namespace as a test route. */
const TEST_ROUTE_LABEL = 'meshpass.dev/test-route';

/** Explains why a route counts as a test route. Returns undefined if it does not. */
export function whyTestRoute(context: LintContext, exposure: Exposure): string | undefined {
  const { root, on, destination, service, matches, hosts, route } = exposure;
  const marked = [root, on, service].find((one) => labels(one?.metadata.labels)[TEST_ROUTE_LABEL] === 'true');
  if (marked) return `${marked.kind} ${marked.metadata.name} has the label ${TEST_ROUTE_LABEL}`;
  const granted = context.granted.get(destination.host);
  if (granted) return `${destination.host} is granted only to named people (grant ${granted.grants.join(', ')})`;
  const known = serviceName(destination.host, context.mesh.config.clusterDomain);
  const namespace = known?.namespace ?? on.metadata.namespace;
  const environment = labelledAsTest(context.mesh.namespaceLabels(namespace));
  if (environment) return `namespace ${namespace} has the label ${environment}`;
  const names: readonly (readonly [name: string | undefined, why: string])[] = [
    [namespace, `its namespace is called ${namespace}`],
    [known?.name, `its service is called ${known?.name}`],
    [destination.subset, `its subset is called ${destination.subset}`],
    [
      root.metadata.name,
      `its ${root.kind === 'KubernetesGateway' ? 'Gateway' : root.kind} is called ${root.metadata.name}`,
    ],
    [route?.name, `the route is called ${route?.name}`],
    ...hosts.map(
      (host) => [host.replace(/^\*\./, '').split('.').slice(0, -2).join('.'), `its host is ${host}`] as const,
    ),
    ...matches.map(({ uri }) => {
      const path = uri?.exact ?? uri?.prefix ?? uri?.regex;
      return [path, `its path is ${path}`] as const;
    }),
  ];
  return names.find(([name]) => isTestName(name))?.[1];
}

/**
 * Whether a word in a name indicates a test: `orders-test`, `pr-1234`, `/debug/pprof`, but not `latest` or `contest`.
 */
function isTestName(name: string | undefined): boolean {
  if (typeof name !== 'string') return false;
  return name
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .some((word) => WORDS.has(word.replace(/\d+$/, '')) || WORDS.has(word));
}

/** Whether the names or labels of a destination alone indicate a test. */
export function isTestDestination(context: LintContext, host: string, subset?: string): boolean {
  const known = serviceName(host, context.mesh.config.clusterDomain);
  return (
    isTestName(known?.name) ||
    isTestName(known?.namespace) ||
    isTestName(subset) ||
    (known !== undefined && labelledAsTest(context.mesh.namespaceLabels(known.namespace)) !== undefined)
  );
}

function labelledAsTest(given: Readonly<Record<string, string>> = {}): string | undefined {
  if (given[TEST_ROUTE_LABEL] === 'true') return TEST_ROUTE_LABEL;
  const name = ENVIRONMENT_LABELS.find((label) => isTestName(given[label]));
  return name && `${name}: ${given[name]}`;
}
