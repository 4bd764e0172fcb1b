/** What the commands of `meshpass policy` read: an access file, the mesh from files or a cluster, and how it is set up. */
import { type Access, type IdentityTokens, loadAccess } from '@meshpass/access';
import type { MeshShape } from '@meshpass/access/compile';
import { MeshpassError } from '@meshpass/identity/error';
import { applyResources, findMeshConfig, loadManifests, type ManifestProblem, type Resource } from '@meshpass/istio';
import { type OptionsOf, text } from '../command/flag.ts';
import { gatewayFlags, tokenAudience } from '../command/shared-flags.ts';
import { readManifestFiles } from './manifest-files.ts';
import { namingFlag, readTextFile } from './text-file.ts';

/** How the mesh is set up. What is not given comes from the mesh's own configuration, if it is read, or is Istio's default. */
export const meshFlags = {
  kubeconfig: text('<file>', 'also read this live cluster; the manifests win over what it has', {
    env: 'MESHPASS_KUBECONFIG',
  }),
  trustDomain: text('<name>', 'trust domain of the mesh', {
    env: 'MESHPASS_TRUST_DOMAIN',
    defaultText: "that of the mesh's configuration",
  }),
  rootNamespace: text('<name>', "Istio's root namespace", {
    env: 'MESHPASS_ROOT_NAMESPACE',
    defaultText: "that of the mesh's configuration",
  }),
  clusterDomain: text('<name>', 'DNS domain of the cluster', {
    env: 'MESHPASS_CLUSTER_DOMAIN',
    default: 'cluster.local',
  }),
  ...gatewayFlags,
  publicUrl: text('<url>', 'public URL of the broker: issuer of identity tokens', {
    env: 'MESHPASS_PUBLIC_URL',
    required: true,
  }),
  tokenAudience,
};
type MeshFlags = OptionsOf<typeof meshFlags>;
type TokenFlags = Pick<MeshFlags, 'publicUrl' | 'tokenAudience'> & { readonly jwks?: string };

export interface PolicyInput {
  readonly resources: readonly Resource[];
  readonly shape: MeshShape;
  readonly trustDomainAliases: readonly string[];
  readonly tokens: IdentityTokens;
  /** Why some files that may contain policies were not read. */
  readonly unread: string | undefined;
}

/** Header in which workspaces carry the identity token. */
const TOKEN_HEADER = 'x-meshpass-token';

/** Placeholder for keys that only the broker knows; what is compiled with it is never written. */
const NO_KEYS = JSON.stringify({ keys: [{ kty: 'RSA', kid: 'not-known-here', n: 'AQAB', e: 'AQAB' }] });

/** @throws MeshpassError `usage`, `manifest_*` for what cannot be read, `kubernetes_unavailable` */
export async function readPolicyInput(paths: readonly string[], flags: MeshFlags & TokenFlags): Promise<PolicyInput> {
  const { resources: given, unread } = await readManifests(paths);
  const standing: Resource[] = [];
  if (flags.kubeconfig !== undefined) {
    const { readCluster } = await import('./cluster-manifests.ts');
    const cluster = await readCluster(flags.kubeconfig);
    refuse(cluster.problems);
    standing.push(...cluster.resources);
  }
  const resources = applyResources(standing, given);
  const config = findMeshConfig(resources);
  return {
    resources,
    unread,
    shape: {
      trustDomain: flags.trustDomain ?? config.trustDomain,
      rootNamespace: flags.rootNamespace ?? config.rootNamespace,
      clusterDomain: flags.clusterDomain,
      gateway: {
        namespace: flags.gatewayNamespace,
        labels: flags.gatewayLabel,
        port: flags.gatewayPort,
      },
    },
    trustDomainAliases: config.trustDomainAliases,
    tokens: identityTokens(flags),
  };
}

/** How sidecars recognise identity tokens of the broker. @throws MeshpassError `usage` */
export function identityTokens(flags: TokenFlags): IdentityTokens {
  return {
    ...{ issuer: flags.publicUrl, audience: flags.tokenAudience, header: TOKEN_HEADER },
    jwks: flags.jwks === undefined ? NO_KEYS : readTextFile(flags.jwks, '--jwks'),
  };
}

export interface Manifests {
  readonly resources: readonly Resource[];
  /** Files below a directory that were left out and may contain objects, as text: the answer is then unknown. */
  readonly unread: string | undefined;
}

/** A named file must be readable; an unreadable file that was found in a directory makes answers unknown. @throws MeshpassError `usage`, `manifest_*` */
export async function readManifests(paths: readonly string[]): Promise<Manifests> {
  const { files, leftOut } = await readManifestFiles(paths);
  const unread = leftOut.filter(({ mayHold }) => mayHold).map(({ path, why }) => `${path}: ${why}`);
  const resources: Resource[] = [];
  for (const { name, text, isFound } of files) {
    const loaded = loadManifests(text, name);
    const isUnread = ({ code }: ManifestProblem) =>
      isFound && (code === 'manifest_syntax' || code === 'manifest_too_large');
    refuse(loaded.problems.filter((one) => !isUnread(one)));
    const first = loaded.problems.find(isUnread);
    if (first) unread.push(`${name}:${first.place.line}: ${first.message}`);
    for (const one of loaded.resources) resources.push(one);
  }
  return { resources, unread: describeUnread(unread) };
}

function describeUnread(places: readonly string[]): string | undefined {
  if (places.length === 0) return undefined;
  const more = places.length > MOST_NAMED ? `; and ${places.length - MOST_NAMED} more` : '';
  return `files that were left out may decide: ${places.slice(0, MOST_NAMED).join('; ')}${more}`;
}

const MOST_NAMED = 5;

/** With all that it includes. @throws MeshpassError `config_invalid`, `access_file_*` */
export function readAccessFile(file: string, flag = '--access'): Access {
  return namingFlag(flag, () => loadAccess(file, { name: file }).access);
}

/** An object that is not understood may mean anything, so nothing is concluded. */
export function refuse(problems: readonly ManifestProblem[]): void {
  const [first] = problems;
  if (!first) return;
  const lines = problems.map(({ place, message }) => `${place.file}:${place.line}:${place.column} ${message}`);
  throw new MeshpassError(first.code, lines.join('\n'));
}
