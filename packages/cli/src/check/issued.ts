/** What cert-manager says of the chart's Certificates, where the values name an issuer; a Secret of the operator's own has none. */
import { plainText } from '@meshpass/identity/text';
import { type Finding, wrong } from '../doctor/line.ts';
import { type CheckContext, list } from './context.ts';

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly message?: string;
}

const LONGEST = 300;

/** @returns nothing where all is well: how long they are good is seen where they are shown */
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
        : 'nothing has looked at it: cert-manager does not run';
      return wrong('certificates', `cert-manager has not issued the certificate ${name}: ${why}.`, {
        seen: `kubectl -n ${namespace} get certificates.cert-manager.io ${name}`,
        next: 'Its events and those of its CertificateRequest name the reason.',
        command: `kubectl -n ${namespace} describe certificates.cert-manager.io,certificaterequests.cert-manager.io`,
      });
    });
}
