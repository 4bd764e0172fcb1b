/** Puts a mesh in force in the lab, and restores the lab afterwards. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Lab } from '@meshpass/lab';
import type { KubeObject } from '@meshpass/lab/kubernetes';
import { parse, stringify } from 'yaml';
import type { Mesh } from './mesh.ts';

export interface MeshInForce {
  readonly leave: () => Promise<void>;
}

export async function enterMesh(lab: Lab, { objects, labels = {}, config }: Mesh): Promise<MeshInForce> {
  const { kubernetes } = lab;
  const file = join(lab.dir, 'hosts/control/mesh.yaml');
  const before = readFileSync(file, 'utf8');
  const written = objects((host) => lab.hosts[host]!.ip);
  const isNamespace = ({ kind }: KubeObject) => kind === 'Namespace';
  const [own, others] = [written.filter(isNamespace), written.filter((one) => !isNamespace(one))];
  const label = (isKept: boolean) =>
    Promise.all(
      Object.entries(labels).map(([namespace, some]) => {
        const changed = Object.entries(some).map(([name, value]) => [name, isKept ? value : null]);
        const patch = { metadata: { labels: Object.fromEntries(changed) } };
        return kubernetes.call('PATCH', `/api/v1/namespaces/${namespace}`, patch, 'application/merge-patch+json');
      }),
    );

  if (config) {
    const mesh = withConfig(before, config);
    writeFileSync(file, mesh);
    await kubernetes.apply(configMap(mesh));
  }
  await label(true);
  await kubernetes.apply(...own);
  await kubernetes.apply(...others);
  return {
    leave: async () => {
      await kubernetes.remove(...others);
      for (const one of own) await removeNamespace(kubernetes, one);
      await label(false);
      if (!config) return;
      writeFileSync(file, before);
      await kubernetes.remove(configMap(before));
    },
  };
}

/** Completes the deletion of an empty namespace, for which the namespace controller would wait five seconds. */
async function removeNamespace(kubernetes: Lab['kubernetes'], namespace: KubeObject): Promise<void> {
  const path = `/api/v1/namespaces/${namespace.metadata.name}`;
  for (const kind of ['serviceaccounts', 'configmaps']) await kubernetes.call('DELETE', `${path}/${kind}`);
  await kubernetes.remove(namespace);
  await kubernetes.call('PUT', `${path}/finalize`, { ...namespace, spec: { finalizers: [] } });
}

/** istiod of the lab reads its settings from a file; plans read them from the ConfigMap of a usual istiod. */
function configMap(mesh: string): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'istio', namespace: 'istio-system' },
    data: { mesh },
  };
}

function withConfig(before: string, config: object): string {
  const { extensionProviders: present = [], ...rest } = parse(before) as { extensionProviders?: readonly object[] };
  const { extensionProviders: added = [], ...settings } = config as { extensionProviders?: readonly object[] };
  return stringify({ ...rest, ...settings, extensionProviders: [...present, ...added] });
}
