/**
 * Checks that the cluster provides what the chart needs: volumes, load balancers, public host names, and a network
 * plugin that enforces NetworkPolicies.
 */

import { pageUrl } from '@meshpass/identity';
import { type Finding, type Findings, misconfigured, ok, skipped, unknown, warning } from '../../diagnosis/finding.ts';
import { resolveHost } from '../../diagnosis/tls.ts';
import type { ChartValues } from '../../input/chart-values.ts';
import { type CheckContext, list, read, type Seen } from '../context.ts';

type Values = ChartValues | undefined;

const DEFAULT_CLASS = /^storageclass(?:\.beta)?\.kubernetes\.io\/is-default-class$/;
/** The names of DaemonSets that are known to enforce NetworkPolicies. */
const ENGINES = ['anetd', 'antrea-agent', 'azure-npm', 'calico-node', 'canal', 'cilium', 'kube-router', 'weave-net'];

/** Checks that the brokers will have either a database or a volume for the embedded store. */
export async function checkStorage({ http }: CheckContext, values: Values): Promise<Finding> {
  const { secret, embedded } = values?.database ?? {};
  if (secret) return ok(`The values configure PostgreSQL (database.secret: ${secret}), so no volume is needed.`);
  const path = '/apis/storage.k8s.io/v1/storageclasses';
  const wanted = embedded?.storageClass;
  const otherwise = {
    seen: 'kubectl get storageclasses',
    next: `Set database.secret (${pageUrl('docs/install/database.md')}), or database.embedded.storageClass for an evaluation.`,
    command: 'kubectl get storageclasses',
  };
  if (wanted) {
    if (await read(http, `${path}/${encodeURIComponent(wanted)}`))
      return ok(`StorageClass ${wanted} exists.`, otherwise.seen);
    return misconfigured(`StorageClass ${wanted} does not exist (database.embedded.storageClass).`, otherwise);
  }
  const isDefault = ({ metadata }: Seen) =>
    Object.entries(metadata.annotations ?? {}).some(([key, value]) => DEFAULT_CLASS.test(key) && value === 'true');
  const found = (await list(http, path)).find(isDefault);
  if (found) return ok(`StorageClass ${found.metadata.name} is the default.`, otherwise.seen);
  return misconfigured(
    'The cluster has no default StorageClass for the embedded store, and database.secret is not set.',
    otherwise,
  );
}

/**
 * Checks whether the cluster has assigned an address to any Service of type LoadBalancer. There is no other way to know
 * whether the cluster supports load balancers.
 */
export async function checkLoadBalancer({ http }: CheckContext, values: Values): Promise<Finding> {
  const types = [values?.broker, values?.edge].map((part) => part?.service?.type || 'LoadBalancer');
  if (!types.includes('LoadBalancer'))
    return ok(`Not needed: the Services are of type ${[...new Set(types)].join(' and ')}.`);
  const services = (await list(http, '/api/v1/services')).filter(({ spec }) => spec?.type === 'LoadBalancer');
  const served = services.find(({ status }) => status?.loadBalancer?.ingress?.length > 0);
  const seen = 'kubectl get services --all-namespaces';
  if (served) return ok(`Service ${nameOf(served)} has an address from a load balancer.`, seen);
  const says =
    services.length === 0
      ? 'No Service of type LoadBalancer exists, so it is unknown whether the cluster assigns addresses.'
      : `None of the ${services.length} Services of type LoadBalancer has an address (for example, ${nameOf(services[0]!)}).`;
  return unknown(says, {
    seen,
    next: 'Cloud providers assign addresses. On other clusters, install MetalLB or similar, or set broker.service.type and edge.service.type.',
  });
}

/**
 * Looks for a network plugin that enforces NetworkPolicies. Without such a plugin, the API server accepts the policies,
 * but they have no effect.
 */
export async function checkNetworkPolicy({ http }: CheckContext, values: Values): Promise<Finding> {
  if (values?.networkPolicies?.enabled === false)
    return warning('NetworkPolicies are disabled, so any Pod can reach the mesh gateway and the operator listeners.', {
      seen: 'networkPolicies.enabled in the values',
      next: 'Remove networkPolicies.enabled from the values if the cluster enforces NetworkPolicies.',
    });
  const sets = await list(http, '/apis/apps/v1/daemonsets');
  const engine = sets.find((one) => isEngine(one) && one.status?.numberReady > 0);
  const seen = 'kubectl get daemonsets --all-namespaces';
  if (engine) return ok(`DaemonSet ${nameOf(engine)} enforces NetworkPolicies.`, seen);
  return unknown('No known engine runs as a DaemonSet, so it is unknown whether NetworkPolicies are enforced.', {
    seen,
    next: `Ask your cluster provider. Without an engine, any Pod can reach the mesh gateway. Engines by cloud: ${pageUrl('docs/install/clouds.md')}.`,
  });
}

function isEngine({ metadata, spec }: Seen): boolean {
  if (ENGINES.includes(metadata.name)) return true;
  // The EKS VPC CNI enforces NetworkPolicies only if it is started with this argument.
  const containers: readonly { args?: readonly string[] }[] = spec?.template?.spec?.containers ?? [];
  return metadata.name === 'aws-node' && containers.some(({ args }) => args?.includes('--enable-network-policy=true'));
}

/** Resolves the public host names. They usually do not resolve until the load balancers exist. */
export async function checkPublicNames(values: Values): Promise<Findings> {
  const hosts = (['broker', 'edge'] as const).flatMap((part) => {
    const host = values?.[part]?.host;
    return host ? [{ part, host }] : [];
  });
  if (hosts.length === 0) return skipped('Pass --values to resolve broker.host and edge.host.');
  return await Promise.all(
    hosts.map(async ({ part, host }) => {
      const addresses = await resolveHost(host).catch(() => undefined);
      if (addresses) return ok(`${host} resolves to ${addresses.join(', ')}.`);
      return warning(`${host} does not resolve here yet.`, {
        next: `After the installation, point it to the load balancer of the Service meshpass-${part}.`,
      });
    }),
  );
}

function nameOf({ metadata: { namespace, name } }: Seen): string {
  return `${namespace}/${name}`;
}
