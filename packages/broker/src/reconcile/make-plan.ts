/** What an access file comes to in the mesh as it stands: compiled, and told apart from what was compiled before. */

import { type Access, compile, formatPlace, type IdentityTokens, leftOut, type Manifest } from '@meshpass/access';
import { toMeshpassError } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import type { Mesh } from '@meshpass/istio';
import type { ClusterView } from './cluster-view.ts';

export interface Plan {
  readonly access: Access;
  readonly mesh: Mesh;
  readonly manifests: readonly Manifest[];
  /** Ids of the token keys that it publishes. */
  readonly tokenKeys: ReadonlySet<string>;
  /** Hash of what it writes and of what stood there when it was made. */
  readonly content: string;
}

/** What a plan is made upon. */
export interface PlanInput {
  readonly mesh: Mesh;
  /** As they must be recognised now. */
  readonly tokens: IdentityTokens;
  /** What stands there of ours. */
  readonly ours: ReturnType<ClusterView['ours']>;
}

/** @throws MeshpassError of compile(): the file grants what the mesh does not have as it would have to be */
export function makePlan(access: Access, planInput: PlanInput): Plan {
  return planOf(access, planInput, compile(access, planInput.mesh, planInput.tokens));
}

/**
 * The same for a file in force, under which the mesh has changed: what is gone is left out.
 * @returns also why the file would not come into force today; undefined where it would
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
 * Services that an entry of the file selects and that cannot be granted as they are, a line each, 20 at most; empty where there are
 * none. Anybody may make such a Service: it is said, and nothing else.
 */
export function describeLeftOut({ access, mesh }: Plan): string {
  const found = leftOut(access, mesh).map(({ place, message }) => `${formatPlace(place)} ${message}`);
  return found.slice(0, 20).join('\n');
}

function planOf(access: Access, { mesh, tokens, ours }: PlanInput, manifests: readonly Manifest[]): Plan {
  const content = sha256Hex(JSON.stringify([manifests, ours]));
  return { access, mesh, manifests, tokenKeys: keyIds(tokens), content };
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
