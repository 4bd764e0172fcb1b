/** What of Istio's MeshConfig decides about access, from the ConfigMap of istiod or a file of its own. */

import { readValues, YamlRefusal } from '../manifest/read-yaml.ts';
import type { ConfigMap } from '../object/kubernetes.ts';
import type { Resource } from '../object/resources.ts';

export type PathNormalization = 'NONE' | 'BASE' | 'MERGE_SLASHES' | 'DECODE_AND_MERGE_SLASHES';

export interface MeshConfig {
  /** Policies in it are for the whole mesh. */
  readonly rootNamespace: string;
  readonly trustDomain: string;
  readonly trustDomainAliases: readonly string[];
  /** Of further authorities whose certificates are taken. */
  readonly caTrustDomains: readonly string[];
  readonly pathNormalization: PathNormalization;
  /** Extension providers that `CUSTOM` policies may name. */
  readonly authorizers: readonly { readonly name: string; readonly protocol: 'http' | 'grpc' }[];
  /** DNS domain of the cluster. */
  readonly clusterDomain: string;
  /** Whether it was read; absent for what is taken to be Istio's default. */
  readonly isRead?: true;
}

/** The part of the configuration that decides what AuthorizationPolicies mean. */
export type MeshSettings = Pick<MeshConfig, 'rootNamespace' | 'trustDomain' | 'trustDomainAliases'> &
  Partial<Pick<MeshConfig, 'caTrustDomains' | 'authorizers'>>;

/** Istio's own defaults. */
export const DEFAULT_MESH_CONFIG: MeshConfig = {
  rootNamespace: 'istio-system',
  trustDomain: 'cluster.local',
  trustDomainAliases: [],
  caTrustDomains: [],
  // Istio's DEFAULT stands for BASE.
  pathNormalization: 'BASE',
  authorizers: [],
  clusterDomain: 'cluster.local',
};

/**
 * The mesh's configuration among `resources` (ConfigMap `istio` of the root namespace, or of any if only one has one), or the
 * defaults. What the text says is taken where it is of the right type, and the default elsewhere, as istiod does.
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
  const maps = resources.filter((one): one is ConfigMap => one.kind === 'ConfigMap' && one.metadata.name === 'istio');
  const map = maps.find(({ metadata }) => metadata.namespace === 'istio-system') ?? maps[0];
  const text = map?.data?.mesh;
  return text === undefined ? DEFAULT_MESH_CONFIG : readMeshConfig(text);
}

/**
 * @param text YAML of a MeshConfig; what cannot be read is as if it were not there
 * @example
 * ```ts
 * import { readMeshConfig } from '@meshpass/istio';
 * readMeshConfig('trustDomain: acme.example').trustDomain; // => 'acme.example'
 * ```
 */
export function readMeshConfig(text: string): MeshConfig {
  const config = mapping(values(text));
  const normalization = mapping(config.pathNormalization).normalization;
  const providers = Array.isArray(config.extensionProviders) ? config.extensionProviders : [];
  const authorities = Array.isArray(config.caCertificates) ? config.caCertificates : [];
  return {
    rootNamespace: word(config.rootNamespace) ?? DEFAULT_MESH_CONFIG.rootNamespace,
    trustDomain: word(config.trustDomain) ?? DEFAULT_MESH_CONFIG.trustDomain,
    trustDomainAliases: texts(config.trustDomainAliases),
    caTrustDomains: authorities.flatMap((authority) => texts(mapping(authority).trustDomains)),
    pathNormalization: isNormalization(normalization) ? normalization : DEFAULT_MESH_CONFIG.pathNormalization,
    authorizers: providers.flatMap((provider) => {
      const { name, envoyExtAuthzHttp, envoyExtAuthzGrpc } = mapping(provider);
      if (typeof name !== 'string' || !(envoyExtAuthzHttp || envoyExtAuthzGrpc)) return [];
      return [{ name, protocol: envoyExtAuthzHttp ? ('http' as const) : ('grpc' as const) }];
    }),
    clusterDomain: DEFAULT_MESH_CONFIG.clusterDomain,
    isRead: true,
  };
}

function values(text: string): unknown {
  try {
    return readValues(text).documents[0];
  } catch (thrown) {
    if (thrown instanceof YamlRefusal) return undefined;
    throw thrown;
  }
}

function mapping(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

function word(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function texts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === 'string') : [];
}

function isNormalization(value: unknown): value is PathNormalization {
  return ['NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'].includes(value as string);
}
