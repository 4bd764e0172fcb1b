/** Compiles an access file for the current state of the mesh into a plan. Plans can be compared with each other. */

import {
  type Access,
  compile,
  formatPlace,
  grantedPorts,
  type IdentityTokens,
  kubernetesGrants,
  leftOut,
  type Manifest,
  reachableServices,
} from '@meshpass/access';
import { sha256Hex, toMeshpassError } from '@meshpass/identity';
import type { Mesh } from '@meshpass/istio';
import type { ClusterView } from './cluster-view.ts';

export type Plan = ReturnType<typeof planOf>;

/** The state of the mesh that a plan is made for. */
export interface PlanInput {
  readonly mesh: Mesh;
  /** The token keys that sidecars currently have to accept. */
  readonly tokens: IdentityTokens;
  /** The names and generations of the existing policies that the broker manages. */
  readonly ours: ReturnType<ClusterView['ours']>;
}

/**
 * Compiles a new access file, in which every granted object must exist.
 * @throws MeshpassError from `compile` if an object that the file grants does not exist in the mesh
 */
export function makePlan(access: Access, planInput: PlanInput): Plan {
  return planOf(access, planInput, compile(access, planInput.mesh, planInput.tokens));
}

/**
 * Compiles a file that is already in force after the mesh has changed, leaving out objects that no longer exist.
 * @returns the plan, and the reason why the file would be rejected if it were new, or undefined if it would be accepted
 */
export function makeReducedPlan(
  access: Access,
  planInput: PlanInput,
): { readonly plan: Plan; readonly missing: string | undefined } {
  const manifests = compile(access, planInput.mesh, planInput.tokens, { missing: 'leave-out' });
  const missing = whyRefused(() => compile(access, planInput.mesh, planInput.tokens));
  return { plan: planOf(access, planInput, manifests), missing };
}

/**
 * Lists up to 20 Services that a selector matches but that cannot be granted, one per line. Returns an empty string if
 * there are none. Anyone can create such a Service, so it only causes a warning.
 */
export function describeSkippedServices({ access, mesh }: Plan): string {
  const found = leftOut(access, mesh).map(({ place, message }) => `${formatPlace(place)} ${message}`);
  return found.slice(0, 20).join('\n');
}

/** Computes which services and roles the grants of an access file reach. This is done once for all sessions. */
export function computeGrantReach(access: Access, mesh: Mesh) {
  const names = access.grants.map(({ name }) => name);
  return {
    services: Map.groupBy(reachableServices(access, mesh, names), ({ grant }) => grant),
    ports: grantedPorts(access, mesh),
    kubernetes: kubernetesGrants(access, mesh),
  };
}

function planOf(access: Access, { mesh, tokens, ours }: PlanInput, manifests: readonly Manifest[]) {
  return {
    access,
    mesh,
    manifests,
    /** The IDs of the token keys that the plan publishes. */
    tokenKeys: keyIds(tokens),
    /** A hash of the plan's manifests and of the policies that the broker had in the cluster when the plan was made. */
    content: sha256Hex(JSON.stringify([manifests, ours])),
    /** The data that is used to answer queries from sessions, edges and proxies while this plan is in force. */
    answers: computeGrantReach(access, mesh),
  };
}

function keyIds({ jwks }: IdentityTokens): ReadonlySet<string> {
  const { keys } = JSON.parse(jwks) as { readonly keys: readonly { readonly kid: string }[] };
  return new Set(keys.map(({ kid }) => kid));
}

function whyRefused(work: () => unknown): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    return toMeshpassError(error).message;
  }
}
