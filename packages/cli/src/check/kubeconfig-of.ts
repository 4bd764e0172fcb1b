/** Which kubeconfig kubectl would use, so that `meshpass check` looks at the same cluster. */
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { MeshpassError } from '@meshpass/identity/error';

/**
 * @returns KUBECONFIG, or `~/.kube/config`
 * @throws MeshpassError `usage` where neither is there, or KUBECONFIG names several files, which kubectl would merge
 */
export function kubeconfigOf(
  { KUBECONFIG }: Readonly<Record<string, string | undefined>>,
  home: string = homedir(),
): string {
  const [file, ...more] = (KUBECONFIG ?? '').split(delimiter).filter((path) => path !== '');
  if (more.length > 0)
    throw new MeshpassError(
      'usage',
      'KUBECONFIG names several files, which are not merged here: name one with --kubeconfig, such as kubectl config view --flatten prints.',
    );
  const usual = join(home, '.kube', 'config');
  if (file !== undefined) return file;
  if (existsSync(usual)) return usual;
  throw new MeshpassError('usage', 'Name the cluster by --kubeconfig or KUBECONFIG: there is no ~/.kube/config.');
}
