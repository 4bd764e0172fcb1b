/** Reads the Istio MeshConfig settings that affect access, from istiod's ConfigMap or from a file. */

import { parseYamlDocuments } from '../manifest/read-yaml.ts';
import type { LabelSelector } from '../object/gateway-api.ts';
import type { ConfigMap } from '../object/kubernetes.ts';
import { items, record, texts } from '../object/members.ts';
import type { Texts } from '../object/object.ts';
import type { Resource } from '../object/resources.ts';

export type PathNormalization = 'NONE' | 'BASE' | 'MERGE_SLASHES' | 'DECODE_AND_MERGE_SLASHES';

export interface MeshConfig {
  /** Namespace whose policies apply to the whole mesh. */
  readonly rootNamespace: string;
  readonly trustDomain: string;
  readonly trustDomainAliases: readonly string[];
  /** Trust domains of additional trusted certificate authorities. */
  readonly caTrustDomains: readonly string[];
  readonly pathNormalization: PathNormalization;
  /** Extension providers that `CUSTOM` policies can use. */
  readonly authorizers: readonly { readonly name: string; readonly protocol: 'http' | 'grpc' }[];
  /** The cluster's DNS domain. */
  readonly clusterDomain: string;
  /**
   * Number of proxies in front of gateways from which the gateways trust `x-forwarded-for`; absent if there are none.
   */
  readonly trustedProxies?: number;
  /** Label selectors for the namespaces that istiod watches; absent for all namespaces. */
  readonly discoverySelectors?: readonly LabelSelector[];
  /** Default `exportTo` of Services and ServiceEntries; absent or empty for all namespaces. */
  readonly serviceExportTo?: Texts;
  /** Default `exportTo` of VirtualServices; absent or empty for all namespaces. */
  readonly virtualServiceExportTo?: Texts;
  /** Default `exportTo` of DestinationRules; absent or empty for all namespaces. */
  readonly destinationRuleExportTo?: Texts;
  /** Whether the configuration was read. Absent for Istio's defaults. */
  readonly isRead?: true;
}

/** Settings that determine what AuthorizationPolicies mean. */
export type MeshSettings = Pick<MeshConfig, 'rootNamespace' | 'trustDomain' | 'trustDomainAliases'> &
  Partial<Pick<MeshConfig, 'caTrustDomains' | 'authorizers'>>;

/** Istio's own defaults. */
export const DEFAULT_MESH_CONFIG: MeshConfig = {
  rootNamespace: 'istio-system',
  trustDomain: 'cluster.local',
  trustDomainAliases: [],
  caTrustDomains: [],
  // DEFAULT means BASE in Istio.
  pathNormalization: 'BASE',
  authorizers: [],
  clusterDomain: 'cluster.local',
};

/**
 * Finds the ConfigMap with the mesh configuration. It is named `istio` and belongs to the root namespace, or to another
 * namespace if the root namespace has none.
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
 * Finds the mesh configuration in `resources`: the ConfigMap `istio` of the root namespace, or of another namespace if
 * the root namespace has none. Returns the defaults if no such ConfigMap exists. Like in istiod, each value of the
 * wrong type is replaced by its default.
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
 * @param text YAML; unreadable text yields the defaults
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

/** MeshConfig members that `readMeshConfig` reads completely. */
const READ: readonly string[] = [
  ...['rootNamespace', 'trustDomain', 'trustDomainAliases', 'pathNormalization', 'discoverySelectors'],
  ...['defaultServiceExportTo', 'defaultVirtualServiceExportTo', 'defaultDestinationRuleExportTo'],
];

/** MeshConfig members that never affect which calls a proxy accepts: logs, metrics, traces and timeouts. */
const NO_EFFECT: readonly string[] = [
  ...['accessLogFile', 'accessLogFormat', 'accessLogEncoding', 'enableEnvoyAccessLogService'],
  ...['disableEnvoyListenerLog', 'enableTracing', 'enablePrometheusMerge', 'defaultProviders', 'connectTimeout'],
  ...['tcpKeepalive', 'dnsRefreshRate', 'hboneIdleTimeout', 'localityLbSetting', 'defaultHttpRetryPolicy'],
];

/** ProxyConfig members that never affect which calls a proxy accepts. */
const NO_EFFECT_OF_PROXY: readonly string[] = [
  ...['tracing', 'concurrency', 'discoveryAddress', 'drainDuration', 'terminationDrainDuration', 'readinessProbe'],
  ...['holdApplicationUntilProxyStarts', 'proxyStatsMatcher', 'statsdUdpAddress', 'zipkinAddress', 'extraStatTags'],
  ...['envoyAccessLogService', 'envoyMetricsService', 'serviceCluster', 'configPath', 'binaryPath'],
];

/**
 * Returns the MeshConfig members that may affect calls and that `readMeshConfig` ignores or reads only in part, such as
 * authorizer definitions.
 * @param text YAML; unreadable text has no members
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
      // True is the default.
      enableAutoMtls: config.enableAutoMtls === true ? null : config.enableAutoMtls,
      defaultConfig: without({ ...proxy, gatewayTopology: topology }, NO_EFFECT_OF_PROXY),
      extensionProviders: items(config.extensionProviders as readonly object[] | undefined).filter(isAuthorizer),
    },
    [...READ, ...NO_EFFECT],
  );
}

/** Omits the named members and members without content. */
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

/** Reads `gatewayTopology.numTrustedProxies` of a ProxyConfig. */
function trustedIn(proxyConfig: unknown): number | undefined {
  const { numTrustedProxies } = record(record(proxyConfig).gatewayTopology);
  return Number.isInteger(numTrustedProxies) ? Number(numTrustedProxies) : undefined;
}

/**
 * Returns the number of proxies in front of a gateway from which the gateway trusts `x-forwarded-for`. It is set by the
 * Pod's annotation `proxy.istio.io/config`, or else by the mesh.
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
