/**
 * Reads the input of the `meshpass policy` commands: an access file, the objects of the mesh (from files, a cluster or
 * both), and the settings of the mesh.
 */
import { type Access, formatPlace, type IdentityTokens, loadAccess } from '@meshpass/access';
import type { MeshShape } from '@meshpass/access/compile';
import { MeshpassError } from '@meshpass/identity';
import {
  applyResources,
  findMeshConfig,
  loadManifests,
  type ManifestProblem,
  type MeshConfig,
  type MeshView,
  type Resource,
  readMeshConfig,
  viewMesh,
} from '@meshpass/istio';
import { listed } from '@meshpass/istio/members';
import { type OptionsOf, text, variadicArgument, withEnvironmentVariables } from '../command/flag.ts';
import { gatewayFlags, gatewayLocation, namespace, tokenAudience } from '../command/shared-flags.ts';
import { readTextFile, withFlagName } from './files.ts';
import { readManifestFiles, requireInput } from './manifest-files.ts';

/** The flag for a live cluster to read in addition to the manifests. */
export const kubeconfig = text('<file>', 'also read this live cluster; manifests override its objects', {
  env: 'MESHPASS_KUBECONFIG',
});

/** The argument for the manifests of a mesh. */
export const MESH_PATHS = variadicArgument(
  'manifest files and directories with Services, workloads and policies; - for standard input',
);

/** The flags for reading the mesh from sources other than manifests. */
export const meshInputFlags = {
  kubeconfig,
  namespace,
  meshConfig: text('<file>', "istiod's MeshConfig, if its ConfigMap is not among the manifests"),
};
type MeshInput = OptionsOf<typeof meshInputFlags>;

/**
 * The flags for the settings of the mesh. Settings that are not specified come from the mesh's own configuration if it
 * was read, and from Istio's defaults otherwise.
 */
export const meshFlags = {
  kubeconfig,
  namespace,
  ...withEnvironmentVariables({
    trustDomain: text('<name>', 'trust domain of the mesh', { defaultText: "from the mesh's configuration" }),
    rootNamespace: text('<name>', "Istio's root namespace", { defaultText: "from the mesh's configuration" }),
    clusterDomain: text('<name>', 'DNS domain of the cluster', { default: 'cluster.local' }),
    ...gatewayFlags,
    publicUrl: text('<url>', 'public URL of the broker, the issuer of identity tokens', { required: true }),
    tokenAudience,
  }),
};
type MeshFlags = OptionsOf<typeof meshFlags>;
type TokenFlags = Pick<MeshFlags, 'publicUrl' | 'tokenAudience'> & { readonly jwks?: string };

export interface PolicyInput extends Manifests {
  readonly shape: MeshShape;
  readonly trustDomainAliases: readonly string[];
  readonly tokens: IdentityTokens;
}

/** The HTTP header in which workspaces send the identity token. */
const TOKEN_HEADER = 'x-meshpass-token';

/**
 * A placeholder for the broker's keys, which only the broker knows. Objects that were compiled with it are never
 * written.
 */
export const PLACEHOLDER_JWKS = JSON.stringify({ keys: [{ kty: 'RSA', kid: 'not-known-here', n: 'AQAB', e: 'AQAB' }] });

/**
 * Reads the objects and settings of the mesh.
 * @throws MeshpassError `usage`, `manifest_*` if the input cannot be read, `kubernetes_unavailable`
 */
export async function readPolicyInput(paths: readonly string[], flags: MeshFlags & TokenFlags): Promise<PolicyInput> {
  const manifests = await readSources(paths, flags);
  const config = findMeshConfig(manifests.resources);
  return {
    ...manifests,
    shape: {
      trustDomain: flags.trustDomain ?? config.trustDomain,
      rootNamespace: flags.rootNamespace ?? config.rootNamespace,
      clusterDomain: flags.clusterDomain,
      gateway: gatewayLocation(flags),
    },
    trustDomainAliases: config.trustDomainAliases,
    tokens: identityTokens(flags),
  };
}

/**
 * Returns the settings that sidecars use to recognize the broker's identity tokens.
 * @throws MeshpassError `usage`
 */
export function identityTokens(flags: TokenFlags): IdentityTokens {
  return {
    issuer: flags.publicUrl,
    audience: flags.tokenAudience,
    header: TOKEN_HEADER,
    jwks: flags.jwks === undefined ? PLACEHOLDER_JWKS : readTextFile(flags.jwks, '--jwks'),
  };
}

export interface Manifests {
  readonly resources: readonly Resource[];
  /** Describes the skipped files and unlisted kinds that might affect the result. If it is set, answers are unknown. */
  readonly unread: string | undefined;
}

/**
 * Reads manifests and, if a kubeconfig is given, a cluster. Objects in the files replace those in the cluster, as if
 * the files had been applied.
 * @param options the options of readCluster(). Kinds that the kubeconfig's user may not list are treated like skipped
 *   files
 * @throws MeshpassError `usage`, `manifest_*`, `kubernetes_unavailable`
 */
export async function readSources(
  paths: readonly string[],
  { kubeconfig: cluster, namespace }: { readonly kubeconfig?: string; readonly namespace?: string },
  options: { readonly others?: boolean } = {},
): Promise<Manifests> {
  const given = await readManifests(paths, namespace);
  if (cluster === undefined) return { ...given, resources: applyResources([], given.resources) };
  const { readCluster } = await import('./cluster-manifests.ts');
  const { resources, problems, unlisted } = await readCluster(cluster, options);
  assertNoProblems(problems);
  const kinds = unlisted.map(({ apiVersion, kind }) => `${kind} (${apiVersion})`);
  const hidden =
    kinds.length === 0 ? undefined : `kinds that the kubeconfig may not list: ${listed(kinds, MOST_NAMED)}`;
  const unread = [given.unread, hidden].filter((one) => one !== undefined);
  return {
    resources: applyResources(resources, given.resources),
    unread: unread.length === 0 ? undefined : unread.join('; '),
  };
}

export interface MeshObjects extends Manifests {
  readonly config: MeshConfig;
}

/**
 * Reads the objects and the configuration of the mesh.
 * @throws MeshpassError `usage`, `manifest_*`, `kubernetes_unavailable`
 */
export async function readMesh(paths: readonly string[], { meshConfig, ...sources }: MeshInput): Promise<MeshObjects> {
  requireInput(paths, sources.kubeconfig);
  const manifests = await readSources(paths, sources);
  const config =
    meshConfig === undefined
      ? findMeshConfig(manifests.resources)
      : readMeshConfig(readTextFile(meshConfig, '--mesh-config'));
  return { ...manifests, config };
}

/**
 * Reads the mesh and builds a view of it.
 * @throws MeshpassError with the same codes as readMesh()
 */
export async function readMeshView(paths: readonly string[], input: MeshInput): Promise<MeshView> {
  const { resources, config, unread } = await readMesh(paths, input);
  return viewMesh(resources, config, unread);
}

/**
 * Reads manifests. Files that are specified explicitly must be readable. Unreadable files in a directory only cause the
 * answers to be unknown.
 * @param namespace the namespace of objects that do not specify one
 * @throws MeshpassError `usage`, `manifest_*`
 */
export async function readManifests(paths: readonly string[], namespace?: string): Promise<Manifests> {
  const { files, leftOut } = await readManifestFiles(paths);
  const unread = leftOut.filter(({ mayHold }) => mayHold).map(({ path, why }) => `${path}: ${why}`);
  const resources: Resource[] = [];
  for (const { name, text, isFound } of files) {
    const loaded = loadManifests(text, name, namespace);
    const isUnread = ({ code }: ManifestProblem) =>
      isFound && (code === 'manifest_syntax' || code === 'manifest_too_large');
    assertNoProblems(loaded.problems.filter((one) => !isUnread(one)));
    const first = loaded.problems.find(isUnread);
    if (first) unread.push(`${name}:${first.place.line}: ${first.message}`);
    for (const one of loaded.resources) resources.push(one);
  }
  return { resources, unread: describeUnread(unread) };
}

function describeUnread(places: readonly string[]): string | undefined {
  if (places.length === 0) return undefined;
  const more = places.length > MOST_NAMED ? `; and ${places.length - MOST_NAMED} more` : '';
  return `skipped files may decide: ${places.slice(0, MOST_NAMED).join('; ')}${more}`;
}

const MOST_NAMED = 5;

/**
 * Reads an access file and all the files that it includes.
 * @throws MeshpassError `config_invalid`, `access_file_*`
 */
export function readAccessFile(file: string, flag = '--access'): Access {
  return withFlagName(flag, () => loadAccess(file, { name: file }).access);
}

/** Throws if there are any problems, because an object that Meshpass does not understand could have any effect. */
function assertNoProblems(problems: readonly ManifestProblem[]): void {
  const [first] = problems;
  if (!first) return;
  const lines = problems.map(({ place, message }) => `${formatPlace(place)} ${message}`);
  throw new MeshpassError(first.code, lines.join('\n'));
}
