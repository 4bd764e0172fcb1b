/**
 * Objects left by an installation that was interrupted while it created its keys. Helm removes the Job's permission
 * only if the Job finishes.
 */
import { warning } from '../diagnosis/finding.ts';
import type { Findings } from '../diagnosis/run.ts';
import { type CheckContext, read } from './context.ts';

const NAME = 'meshpass-keys';

/** @returns no findings if there is no such permission, or its Job is running */
export async function checkLeftovers({ http, namespace }: CheckContext): Promise<Findings> {
  const [role, job] = await Promise.all([
    read(http, `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}/roles/${NAME}`),
    read(http, `/apis/batch/v1/namespaces/${namespace}/jobs/${NAME}`),
  ]);
  const isAtWork = job?.status?.active > 0;
  if (!role || isAtWork) return [];
  const objects = `job,rolebinding,role,serviceaccount ${NAME}`;
  return warning(
    'rights',
    `An interrupted installation left behind the permission to create Secrets in ${namespace} (Role ${NAME}).`,
    {
      seen: `kubectl -n ${namespace} get ${objects}`,
      next: 'Remove it. Each installation or upgrade recreates it while creating keys.',
      command: `kubectl -n ${namespace} delete --ignore-not-found ${objects}`,
    },
  );
}
