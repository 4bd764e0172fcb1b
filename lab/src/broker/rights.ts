/** The broker's rights of production: the plain files of the chart, with what its values set in them set for the lab. */
import { readFileSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';
import type { KubeObject, Kubernetes } from '../kubernetes.ts';

/** Public URL of the lab's broker, issuer of its tokens. */
export const BROKER_URL = 'https://broker.meshpass.test:8443';

/** Audience of tokens for the lab's API server. */
export const KUBERNETES_AUDIENCE = 'https://kubernetes.default.svc.cluster.local';

/** Services that access files may grant in the lab, like `admission.services` of the chart. */
const SERVICES = ['*.shop', '*.dev', '*.preview-*', 'invoices.billing'] as const;

/**
 * Admission policies before rights: never may the broker do more than in production.
 * @param kubernetesAudience for which it may have tokens, beside istiod's; none where empty
 */
export async function applyBrokerRights(kubernetes: Pick<Kubernetes, 'apply'>, kubernetesAudience = ''): Promise<void> {
  for (const file of [
    'accounts.yaml',
    'admission.yaml',
    'broker-rbac.yaml',
    'audit-checkpoint.yaml',
    'signing-key.yaml',
  ]) {
    const text = readFileSync(new URL(`../../../deploy/helm/meshpass/files/${file}`, import.meta.url), 'utf8');
    for (const document of parseAllDocuments(text))
      await kubernetes.apply(edited(document.toJS() as KubeObject, kubernetesAudience));
  }
}

function edited(object: KubeObject, kubernetesAudience: string): KubeObject {
  const set = object.kind === 'ValidatingAdmissionPolicy' ? setOf(kubernetesAudience)[object.metadata.name] : undefined;
  if (!set) return object;
  const spec = object.spec as { readonly variables: readonly { readonly name: string; readonly expression: string }[] };
  const missing = Object.keys(set).filter((name) => !spec.variables.some((variable) => variable.name === name));
  if (missing.length > 0) throw new Error(`admission.yaml has no variables ${missing.join(', ')}`);
  const variables = spec.variables.map(({ name, expression }) => ({ name, expression: set[name] ?? expression }));
  return { ...object, spec: { ...spec, variables } };
}

/** Variables of each policy. */
const setOf = (kubernetesAudience: string): Readonly<Record<string, Readonly<Record<string, string>>>> => ({
  'meshpass-policies': {
    services: `[${SERVICES.map((one) => `'${one}'`).join(', ')}]`,
    issuer: `'${BROKER_URL}'`,
  },
  'meshpass-accounts': { kubernetesAudience: `'${kubernetesAudience}'` },
});
