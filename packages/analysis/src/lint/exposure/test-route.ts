/**
 * What makes a route a test route: something that was meant for a few, and is guarded by nothing but that nobody knows of
 * it. Names say so, labels say so, or the access file does: what is granted to named people is not for the world.
 */

import { serviceName } from '@meshpass/istio';
import { labels } from '@meshpass/istio/members';
import type { LintContext } from '../context.ts';
import type { Exposure } from './exposure.ts';

const WORDS = new Set([
  ...['test', 'tests', 'testing', 'dev', 'develop', 'development', 'staging', 'stage', 'stg', 'preview', 'previews'],
  ...['sandbox', 'qa', 'uat', 'debug', 'ephemeral', 'experimental', 'experiment', 'tmp', 'temp', 'scratch', 'pr'],
]);
const ENVIRONMENT_LABELS = ['env', 'environment', 'stage', 'tier', 'meshpass.dev/environment'];
/** Says it outright, on a VirtualService, Service or Namespace. */
export const TEST_ROUTE_LABEL = 'meshpass.dev/test-route';

/** Why something counts as a test route; undefined: it does not. */
export function whyTestRoute(context: LintContext, exposure: Exposure): string | undefined {
  const { root, on, destination, service, matches, hosts, route } = exposure;
  for (const object of [root, on, service]) {
    if (object && labels(object.metadata.labels)[TEST_ROUTE_LABEL] === 'true')
      return `${object.kind} ${object.metadata.name} has the label ${TEST_ROUTE_LABEL}`;
  }
  const granted = context.granted.get(destination.host);
  if (granted) return `${destination.host} is granted to named people only (grant ${granted.grants.join(', ')})`;
  const known = serviceName(destination.host, context.mesh.config.clusterDomain);
  const namespace = known?.namespace ?? on.metadata.namespace;
  const environment = labelledAsTest(context.mesh.namespaceLabels(namespace));
  if (environment) return `namespace ${namespace} has the label ${environment}`;
  if (isTestName(namespace)) return `its namespace is called ${namespace}`;
  if (known && isTestName(known.name)) return `its service is called ${known.name}`;
  if (isTestName(destination.subset)) return `its subset is called ${destination.subset}`;
  if (isTestName(root.metadata.name)) return `its VirtualService is called ${root.metadata.name}`;
  if (isTestName(route?.name)) return `the route is called ${route?.name}`;
  const host = hosts.find((one) => isTestName(one.replace(/^\*\./, '').split('.').slice(0, -2).join('.')));
  if (host) return `its host is ${host}`;
  for (const { uri } of matches) {
    const path = uri?.exact ?? uri?.prefix ?? uri?.regex;
    if (isTestName(path)) return `its path is ${path}`;
  }
  return undefined;
}

/** Whether a word of a name says that it is for tests: `orders-test`, `pr-1234`, `/debug/pprof`; not `latest` or `contest`. */
export function isTestName(name: string | undefined): boolean {
  if (typeof name !== 'string') return false;
  return name
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .some((word) => WORDS.has(word.replace(/\d+$/, '')) || WORDS.has(word));
}

/** Whether a destination, for which nothing else speaks, is one for tests. */
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
