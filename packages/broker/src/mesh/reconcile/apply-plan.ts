/** Applies a plan to the cluster: all objects, or only the token keys if GitOps applies the rest. */
import type { Manifest } from '@meshpass/access';
import { resourceChanges } from '@meshpass/analysis/plan';
import { MeshpassError } from '@meshpass/identity';
import { loadObject, type Resource } from '@meshpass/istio';
import { apiVersionOf } from '../kubernetes/resources.ts';
import { type ApplyOptions, applyManifests } from './apply.ts';
import { COMPILED } from './revocation/deny-policy.ts';

/**
 * Applies the plan's manifests.
 * @returns Unix seconds at which they must be applied again even without a change
 * @throws MeshpassError `kubernetes_unavailable`, `policy_drift`
 */
export async function applyPlan(
  { manifests }: { readonly manifests: readonly Manifest[] },
  options: ApplyOptions & { readonly gitops?: boolean },
): Promise<number | undefined> {
  return await (options.gitops ? applyKeysOnly : applyManifests)(manifests, options);
}

// GitOps mode: a controller (Argo CD, Flux) applies the committed manifests. The broker writes only its token keys,
// which no repository contains. It compares the rest, and an access file comes into force when the cluster matches
// its compiled form.

const SHOWN = 10;

/**
 * Applies RequestAuthentication and compares all other objects.
 * @throws MeshpassError `policy_drift`, `kubernetes_unavailable`
 */
async function applyKeysOnly(manifests: readonly Manifest[], { kubernetes, mesh }: ApplyOptions): Promise<undefined> {
  for (const manifest of manifests) if (manifest.kind === 'RequestAuthentication') await kubernetes.apply(manifest);
  const kinds = ['Namespace', 'RoleBinding', 'AuthorizationPolicy', 'Sidecar', 'Gateway'];
  const present = await Promise.all(
    kinds.map(async (kind): Promise<readonly Resource[]> => {
      const objects = await kubernetes.list(kind, COMPILED, kind === 'Gateway' ? mesh.gateway.namespace : undefined);
      const whole = objects.map((object) => ({ apiVersion: apiVersionOf(kind), kind, ...object }));
      return whole.flatMap((object) => [...loadObject(object, kind).resources]);
    }),
  );
  const drift = resourceChanges(
    present.flat(),
    manifests.filter(({ kind }) => kinds.includes(kind)),
  );
  if (drift.length === 0) return undefined;
  const lines = drift.slice(0, SHOWN).map(({ does, kind, name }) => `${does} ${kind} ${name}`);
  if (drift.length > SHOWN) lines.push(`and ${drift.length - SHOWN} more`);
  throw new MeshpassError(
    'policy_drift',
    `The cluster differs from the compiled access file. Commit and apply: ${lines.join(', ')}.`,
    { detail: { drift: drift.length } },
  );
}
