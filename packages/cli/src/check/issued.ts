/**
 * cert-manager's status for the chart's Certificates, if the values contain an issuer. A Secret provided by an operator
 * has none.
 */
import { plainText } from '@meshpass/identity/text';
import { type Finding, wrong } from '../diagnosis/finding.ts';
import { type CheckContext, list } from './context.ts';

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly message?: string;
}

const LONGEST = 300;

/** @returns no findings if all are issued; their lifetime is checked where they are served */
export async function checkIssued({ http, namespace }: CheckContext): Promise<readonly Finding[]> {
  const found = await list(http, `/apis/cert-manager.io/v1/namespaces/${namespace}/certificates`);
  return found
    .filter(({ metadata }) => metadata.name === 'meshpass-broker' || metadata.name === 'meshpass-edge')
    .flatMap(({ metadata: { name }, status }) => {
      const conditions: readonly Condition[] = status?.conditions ?? [];
      const ready = conditions.find(({ type }) => type === 'Ready');
      if (ready?.status === 'True') return [];
      const why = ready
        ? plainText(String(ready.message ?? '').slice(0, LONGEST)) || 'it is not ready'
        : 'it has no status, because cert-manager is not running';
      return wrong('certificates', `cert-manager has not issued the certificate ${name}: ${why}.`, {
        seen: `kubectl -n ${namespace} get certificates.cert-manager.io ${name}`,
        next: 'Check the events of the Certificate and its CertificateRequest.',
        command: `kubectl -n ${namespace} describe certificates.cert-manager.io,certificaterequests.cert-manager.io`,
      });
    });
}
