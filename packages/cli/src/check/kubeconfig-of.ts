/** Kubeconfig that kubectl would use, so that `meshpass check` examines the same cluster. */
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { MeshpassError } from '@meshpass/identity/error';

/**
 * Finds the kubeconfig.
 * @returns KUBECONFIG, or `~/.kube/config`
 * @throws MeshpassError `usage` if neither exists, or KUBECONFIG lists several files, which kubectl would merge
 */
export function kubeconfigOf(
  { KUBECONFIG }: Readonly<Record<string, string | undefined>>,
  home: string = homedir(),
): string {
  const [file, ...more] = (KUBECONFIG ?? '').split(delimiter).filter((path) => path !== '');
  if (more.length > 0)
    throw new MeshpassError(
      'usage',
      'KUBECONFIG lists several files, which meshpass does not merge. Pass one as --kubeconfig, for example the output of kubectl config view --flatten.',
    );
  const usual = join(home, '.kube', 'config');
  if (file !== undefined) return file;
  if (existsSync(usual)) return usual;
  throw new MeshpassError('usage', 'No kubeconfig found at ~/.kube/config. Set --kubeconfig or KUBECONFIG.');
}
