/** What an installation leaves that was interrupted while its keys were made: Helm removes the Job's right only where it comes to an end itself. */
import type { Finding } from '../doctor/line.ts';
import { type CheckContext, read } from './context.ts';

const NAME = 'meshpass-keys';

/** @returns nothing where there is no such right, or its Job is at work */
export async function checkLeftovers({ http, namespace }: CheckContext): Promise<readonly Finding[]> {
  const [role, job] = await Promise.all([
    read(http, `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}/roles/${NAME}`),
    read(http, `/apis/batch/v1/namespaces/${namespace}/jobs/${NAME}`),
  ]);
  const isAtWork = job?.status?.active > 0;
  if (!role || isAtWork) return [];
  const objects = `job,rolebinding,role,serviceaccount ${NAME}`;
  return [
    {
      ...{ check: 'rights', state: 'warning', seen: `kubectl -n ${namespace} get ${objects}` },
      says: `An interrupted installation left the right to create Secrets in ${namespace} behind (Role ${NAME}).`,
      next: 'Remove it: each installation and upgrade makes it anew for as long as it makes keys.',
      command: `kubectl -n ${namespace} delete --ignore-not-found ${objects}`,
    },
  ];
}
