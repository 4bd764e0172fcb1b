/** Compiles an access file for the current mesh into a plan. Plans can be compared with each other. */

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
import { toMeshpassError } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import type { Mesh } from '@meshpass/istio';
import type { ClusterView } from './cluster-view.ts';

export type Plan = ReturnType<typeof planOf>;

/** State of the mesh for which a plan is made. */
export interface PlanInput {
  readonly mesh: Mesh;
  /** Token keys that sidecars must currently accept. */
  readonly tokens: IdentityTokens;
  /** Existing policies that the broker manages. */
  readonly ours: ReturnType<ClusterView['ours']>;
}

/**
 * Compiles an access file.
 * @throws MeshpassError from compile() if the mesh lacks an object that the file grants
 */
export function makePlan(access: Access, planInput: PlanInput): Plan {
  return planOf(access, planInput, compile(access, planInput.mesh, planInput.tokens));
}

/**
 * Compiles a file that is already in force for a mesh that has changed, and omits missing objects.
 * @returns the plan, and the reason that the file would not come into force today. The reason is undefined if it would
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
 * Lists up to 20 selected Services that cannot be granted, one per line. The text is empty if there are none. Anyone
 * may create such a Service, so it causes only a warning.
 */
export function describeSkippedServices({ access, mesh }: Plan): string {
  const found = leftOut(access, mesh).map(({ place, message }) => `${formatPlace(place)} ${message}`);
  return found.slice(0, 20).join('\n');
}

/** Computes the services and roles that the grants of a file reach, once for all sessions. */
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
    /** Ids of the token keys that the plan publishes. */
    tokenKeys: keyIds(tokens),
    /** Hash of the plan's manifests and of the broker's existing policies at the time the plan was made. */
    content: sha256Hex(JSON.stringify([manifests, ours])),
    /** Answers to queries from sessions, edges and proxies while the plan is in force. */
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
