/**
 * Plays a cloud's disks: a claim of the default StorageClass gets a folder of the node's disk as a `local` volume, for which the
 * kubelet sets owners (`fsGroup`) as for a real disk. The volume goes with its claim.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { KubeObject, Kubernetes } from '../../kubernetes.ts';
import { NODE } from '../plan.ts';

const CLASS = 'standard';

interface Claim {
  readonly metadata: { readonly namespace: string; readonly name: string; readonly uid: string };
  readonly spec: {
    readonly storageClassName?: string;
    readonly volumeName?: string;
    readonly accessModes: readonly string[];
    readonly resources: { readonly requests: { readonly storage: string } };
  };
}

interface Volume {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly storageClassName?: string; readonly claimRef?: { readonly uid?: string } };
}

/** @param folder of the disks, which the node sees under the same path */
export async function lookAfterDisks(kubernetes: Kubernetes, folder: string): Promise<void> {
  const list = async <T>(path: string): Promise<readonly T[]> =>
    ((await kubernetes.call('GET', path)) as { items: readonly T[] }).items;
  const claims = await list<Claim>('/api/v1/persistentvolumeclaims');
  const volumes = (await list<Volume>('/api/v1/persistentvolumes')).filter(
    ({ spec }) => spec.storageClassName === CLASS,
  );
  const made = new Set(volumes.map(({ metadata }) => metadata.name));
  for (const claim of claims) {
    if (claim.spec.storageClassName !== CLASS || claim.spec.volumeName || made.has(nameOf(claim))) continue;
    const path = join(folder, nameOf(claim));
    mkdirSync(path, { recursive: true });
    await kubernetes.call('POST', '/api/v1/persistentvolumes', volumeFor(claim, path));
  }
  const wanted = new Set(claims.map(nameOf));
  for (const { metadata } of volumes) {
    if (wanted.has(metadata.name)) continue;
    await kubernetes.call('DELETE', `/api/v1/persistentvolumes/${metadata.name}`);
    rmSync(join(folder, metadata.name), { recursive: true, force: true });
  }
}

function nameOf({ metadata }: Claim): string {
  return `disk-${metadata.uid}`;
}

function volumeFor(claim: Claim, path: string): KubeObject {
  const { namespace, name, uid } = claim.metadata;
  const thisNode = { key: 'kubernetes.io/hostname', operator: 'In', values: [NODE] };
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: nameOf(claim) },
    spec: {
      storageClassName: CLASS,
      accessModes: claim.spec.accessModes,
      capacity: claim.spec.resources.requests,
      persistentVolumeReclaimPolicy: 'Retain', // Kubernetes cannot delete it; the cloud does
      claimRef: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace, name, uid },
      local: { path },
      nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions: [thisNode] }] } },
    },
  };
}
