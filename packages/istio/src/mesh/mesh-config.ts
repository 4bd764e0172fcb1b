/** Reads the settings in Istio's MeshConfig that affect access, either from istiod's ConfigMap or from a file. */

import { parseYamlDocuments } from '../manifest/read-yaml.ts';
import type { LabelSelector } from '../object/gateway-api.ts';
import type { ConfigMap } from '../object/kubernetes.ts';
import { items, record, texts } from '../object/members.ts';
import type { Texts } from '../object/object.ts';
import type { Resource } from '../object/resources.ts';

export type PathNormalization = 'NONE' | 'BASE' | 'MERGE_SLASHES' | 'DECODE_AND_MERGE_SLASHES';

export interface MeshConfig {
  /** The namespace whose policies apply to the whole mesh. */
  readonly rootNamespace: string;
  readonly trustDomain: string;
  readonly trustDomainAliases: readonly string[];
  /** The trust domains of additional certificate authorities that the mesh trusts. */
  readonly caTrustDomains: readonly string[];
  readonly pathNormalization: PathNormalization;
  /** The extension providers that `CUSTOM` policies can refer to. */
  readonly authorizers: readonly { readonly name: string; readonly protocol: 'http' | 'grpc' }[];
  /** The DNS domain of the cluster. */
  readonly clusterDomain: string;
  /**
   * The number of proxies in front of a gateway that are trusted to set `x-forwarded-for`. Absent if there are none.
   */
  readonly trustedProxies?: number;
  /** Label selectors for the namespaces that istiod watches. Absent if it watches all namespaces. */
  readonly discoverySelectors?: readonly LabelSelector[];
  /** The default `exportTo` of Services and ServiceEntries. If absent or empty, they are exported to all namespaces. */
  readonly serviceExportTo?: Texts;
  /** The default `exportTo` of VirtualServices. If absent or empty, they are exported to all namespaces. */
  readonly virtualServiceExportTo?: Texts;
  /** The default `exportTo` of DestinationRules. If absent or empty, they are exported to all namespaces. */
  readonly destinationRuleExportTo?: Texts;
  /** Whether the configuration was read. Absent if it consists of Istio's defaults. */
  readonly isRead?: true;
}

/** The settings that determine the meaning of AuthorizationPolicies. */
export type MeshSettings = Pick<MeshConfig, 'rootNamespace' | 'trustDomain' | 'trustDomainAliases'> &
  Partial<Pick<MeshConfig, 'caTrustDomains' | 'authorizers'>>;

/** Istio's default values for these settings. */
export const DEFAULT_MESH_CONFIG: MeshConfig = {
  rootNamespace: 'istio-system',
  trustDomain: 'cluster.local',
  trustDomainAliases: [],
  caTrustDomains: [],
  // In Istio, DEFAULT is the same as BASE.
  pathNormalization: 'BASE',
  authorizers: [],
  clusterDomain: 'cluster.local',
};

/**
 * Finds the ConfigMap that contains the mesh configuration. It is the one named `istio` in the root namespace or, if
 * there is none, in any other namespace.
 * @example
 * ```ts
 * import { meshConfigMap } from '@meshpass/istio';
 * meshConfigMap([]); // => undefined
 * ```
 */
export function meshConfigMap(resources: readonly Resource[]): ConfigMap | undefined {
  const maps = resources.filter((one): one is ConfigMap => one.kind === 'ConfigMap' && one.metadata.name === 'istio');
  return maps.find(({ metadata }) => metadata.namespace === 'istio-system') ?? maps[0];
}

/**
 * Finds the mesh configuration in the ConfigMap `istio` of the root namespace or, if there is none, of any other
 * namespace. Returns the defaults if no such ConfigMap exists. As in istiod, each value of the wrong type is replaced
 * by its default.
 * @example
 * ```ts
 * import { findMeshConfig, loadManifests } from '@meshpass/istio';
 * const map = `{apiVersion: v1, kind: ConfigMap, metadata: {name: istio, namespace: istio-system},
 *   data: {mesh: 'trustDomain: acme.example'}}`;
 * findMeshConfig(loadManifests(map, 'mesh.yaml').resources).trustDomain; // => 'acme.example'
 * findMeshConfig([]).trustDomain; // => 'cluster.local'
 * ```
 */
export function findMeshConfig(resources: readonly Resource[]): MeshConfig {
  const text = meshConfigMap(resources)?.data?.mesh;
  return text === undefined ? DEFAULT_MESH_CONFIG : readMeshConfig(text);
}

/**
 * Reads a MeshConfig.
 * @param text the configuration in YAML. If it cannot be parsed, the defaults are returned
 * @example
 * ```ts
 * import { readMeshConfig } from '@meshpass/istio';
 * readMeshConfig('trustDomain: acme.example').trustDomain; // => 'acme.example'
 * ```
 */
export function readMeshConfig(text: string): MeshConfig {
  const config = record(parseYamlDocuments(text)?.[0]);
  const { normalization } = record(config.pathNormalization);
  const providers = items(config.extensionProviders as readonly object[] | undefined);
  const authorities = items(config.caCertificates as readonly object[] | undefined);
  const discoverySelectors = items(config.discoverySelectors as readonly LabelSelector[] | undefined);
  return {
    rootNamespace: word(config.rootNamespace) ?? DEFAULT_MESH_CONFIG.rootNamespace,
    trustDomain: word(config.trustDomain) ?? DEFAULT_MESH_CONFIG.trustDomain,
    trustDomainAliases: texts(config.trustDomainAliases),
    caTrustDomains: authorities.flatMap((authority) => texts(record(authority).trustDomains)),
    pathNormalization: isNormalization(normalization) ? normalization : DEFAULT_MESH_CONFIG.pathNormalization,
    authorizers: providers.flatMap((provider) => {
      const { name, envoyExtAuthzHttp, envoyExtAuthzGrpc } = record(provider);
      if (typeof name !== 'string' || !(envoyExtAuthzHttp || envoyExtAuthzGrpc)) return [];
      return [{ name, protocol: envoyExtAuthzHttp ? ('http' as const) : ('grpc' as const) }];
    }),
    clusterDomain: DEFAULT_MESH_CONFIG.clusterDomain,
    trustedProxies: trustedIn(config.defaultConfig),
    ...(discoverySelectors.length > 0 && { discoverySelectors }),
    serviceExportTo: texts(config.defaultServiceExportTo),
    virtualServiceExportTo: texts(config.defaultVirtualServiceExportTo),
    destinationRuleExportTo: texts(config.defaultDestinationRuleExportTo),
    isRead: true,
  };
}

/** The MeshConfig fields that `readMeshConfig` reads completely. */
const READ: readonly string[] = [
  ...['rootNamespace', 'trustDomain', 'trustDomainAliases', 'pathNormalization', 'discoverySelectors'],
  ...['defaultServiceExportTo', 'defaultVirtualServiceExportTo', 'defaultDestinationRuleExportTo'],
];

/**
 * The MeshConfig fields that never affect which calls a proxy accepts, such as those for logs, metrics, traces and
 * timeouts.
 */
const NO_EFFECT: readonly string[] = [
  ...['accessLogFile', 'accessLogFormat', 'accessLogEncoding', 'enableEnvoyAccessLogService'],
  ...['disableEnvoyListenerLog', 'enableTracing', 'enablePrometheusMerge', 'defaultProviders', 'connectTimeout'],
  ...['tcpKeepalive', 'dnsRefreshRate', 'hboneIdleTimeout', 'localityLbSetting', 'defaultHttpRetryPolicy'],
];

/** The ProxyConfig fields that never affect which calls a proxy accepts. */
const NO_EFFECT_OF_PROXY: readonly string[] = [
  ...['tracing', 'concurrency', 'discoveryAddress', 'drainDuration', 'terminationDrainDuration', 'readinessProbe'],
  ...['holdApplicationUntilProxyStarts', 'proxyStatsMatcher', 'statsdUdpAddress', 'zipkinAddress', 'extraStatTags'],
  ...['envoyAccessLogService', 'envoyMetricsService', 'serviceCluster', 'configPath', 'binaryPath'],
];

/**
 * Returns the MeshConfig fields that might affect calls and that `readMeshConfig` does not read, or not completely.
 * These include the definitions of authorizers.
 * @param text the configuration in YAML. If it cannot be parsed, it has no fields
 * @example
 * ```ts
 * import { unreadMeshSettings } from '@meshpass/istio';
 * unreadMeshSettings('{trustDomain: acme.example, enableAutoMtls: false}'); // => { enableAutoMtls: false }
 * ```
 */
export function unreadMeshSettings(text: string): Readonly<Record<string, unknown>> {
  const config = record(parseYamlDocuments(text)?.[0]);
  const { gatewayTopology, ...proxy } = record(config.defaultConfig);
  const { numTrustedProxies: _, ...topology } = record(gatewayTopology);
  return without(
    {
      ...config,
      // The default value is true.
      enableAutoMtls: config.enableAutoMtls === true ? null : config.enableAutoMtls,
      defaultConfig: without({ ...proxy, gatewayTopology: topology }, NO_EFFECT_OF_PROXY),
      extensionProviders: items(config.extensionProviders as readonly object[] | undefined).filter(isAuthorizer),
    },
    [...READ, ...NO_EFFECT],
  );
}

/** Removes the fields with these names, and all fields without content. */
function without(
  config: Readonly<Record<string, unknown>>,
  names: readonly string[],
): Readonly<Record<string, unknown>> {
  const isEmpty = (value: unknown) =>
    value === undefined ||
    value === null ||
    value === '' ||
    (typeof value === 'object' && Object.keys(value).length === 0);
  return Object.fromEntries(Object.entries(config).filter(([name, value]) => !names.includes(name) && !isEmpty(value)));
}

function isAuthorizer(provider: object): boolean {
  const { envoyExtAuthzHttp, envoyExtAuthzGrpc } = record(provider);
  return Boolean(envoyExtAuthzHttp || envoyExtAuthzGrpc);
}

function trustedIn(proxyConfig: unknown): number | undefined {
  const { numTrustedProxies } = record(record(proxyConfig).gatewayTopology);
  return Number.isInteger(numTrustedProxies) ? Number(numTrustedProxies) : undefined;
}

/**
 * Returns the number of proxies in front of a gateway that are trusted to set `x-forwarded-for`. This is set by the
 * `proxy.istio.io/config` annotation of the Pod, or otherwise by the mesh.
 * @example
 * ```ts
 * import { DEFAULT_MESH_CONFIG, trustedProxiesOf } from '@meshpass/istio';
 * const annotations = { 'proxy.istio.io/config': 'gatewayTopology: {numTrustedProxies: 1}' };
 * trustedProxiesOf({ config: DEFAULT_MESH_CONFIG }, { annotations }); // => 1
 * ```
 */
export function trustedProxiesOf(
  { config }: { readonly config: MeshConfig },
  pod: { readonly annotations?: Readonly<Record<string, string>> },
): number {
  const text = pod.annotations?.['proxy.istio.io/config'];
  const own = text === undefined ? undefined : trustedIn(parseYamlDocuments(text)?.[0]);
  return own ?? config.trustedProxies ?? 0;
}

function word(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function isNormalization(value: unknown): value is PathNormalization {
  return ['NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'].includes(value as string);
}
