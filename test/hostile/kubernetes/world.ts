/** World of the hostile requests to Kubernetes: objects of the broker for a grant, and objects of others. */
import { type KubeObject, type Lab, upLab } from '@meshpass/lab';
import { applyBrokerRights } from '@meshpass/lab/broker/rights';
import { removeOurs, until } from '../../mesh.ts';
import { type AsBroker, asBroker } from './as-broker.ts';
import {
  ALLOW,
  account,
  BINDING,
  boundTo,
  CHECKPOINT,
  checkpointData,
  GATEWAY,
  GUARD,
  INVOICES_LABELS,
  NAMESPACE,
  RECOGNISE,
  SECRET,
  SIDECAR,
} from './honest.ts';
import { apply, changed, merge, post, type Request } from './requests.ts';

export interface KubernetesWorld extends AsBroker {
  readonly lab: Lab;
}

const AS_ALLOW = { apiVersion: ALLOW.apiVersion, kind: ALLOW.kind, spec: ALLOW.spec };
const plain = (kind: string, name: string, namespace?: string): KubeObject => ({
  apiVersion: 'v1',
  kind,
  metadata: { name, ...(namespace && { namespace }) },
});

const service = (name: string, namespace: string, spec: object): KubeObject => ({
  ...plain('Service', name, namespace),
  spec: { ...spec, ports: [{ name: 'http', port: 8080 }] },
});

/** Objects of others, with names as similar to the broker's as possible. */
const THEIRS: readonly KubeObject[] = [
  { ...AS_ALLOW, metadata: { name: 'meshpass-theirs', namespace: 'shop' } },
  { ...AS_ALLOW, metadata: { name: 'meshpass-theirs', namespace: 'istio-system' }, spec: GUARD.spec },
  { ...BINDING, metadata: { name: 'meshpass-hostile.theirs', namespace: 'shop' } },
  { ...GATEWAY, metadata: { name: 'theirs', namespace: 'meshpass-system' } },
  { ...RECOGNISE, metadata: { name: 'theirs', namespace: 'istio-system' } },
  { ...plain('Secret', 'theirs', 'meshpass-hostile') },
  { ...plain('ServiceAccount', 'theirs', 'meshpass-hostile') },
  // Labelled as the broker's own, in namespaces that are not.
  { ...SIDECAR, metadata: { ...SIDECAR.metadata, namespace: 'meshpass-theirs' } },
  account('theirs', 'meshpass-theirs'),
];
const THEIR_NAMESPACES = ['meshpass-theirs', 'payroll', 'billing'].map((name) => plain('Namespace', name));
const THEIR_SERVICES: readonly KubeObject[] = [
  service('invoices', 'billing', { selector: INVOICES_LABELS }),
  service('salaries', 'billing', { selector: { app: 'salaries' } }),
  service('theirs', 'shop', {}),
];
const MINE = [NAMESPACE, GUARD, ALLOW, RECOGNISE, SIDECAR, GATEWAY, BINDING];

export async function openKubernetes(): Promise<KubernetesWorld> {
  const lab = await upLab({ with: ['workspace-2'] });
  await applyBrokerRights(lab.kubernetes);
  // Objects of an earlier run: recreated, empty.
  await lab.kubernetes.remove(CHECKPOINT);
  await applyBrokerRights(lab.kubernetes);
  const { ask, forget } = await asBroker(lab);
  await lab.kubernetes.apply(...THEIR_NAMESPACES, ...THEIR_SERVICES);
  await untilInForce(ask);
  await lab.kubernetes.remove(SECRET);
  await lab.kubernetes.apply({ ...SECRET, stringData: { 'audit-key.pem': 'a key', 'signing-key.pem': 'a key' } });
  for (const object of MINE) await mustBeAccepted(ask, apply(object));
  await mustBeAccepted(ask, post(account('honest', 'meshpass-hostile')));
  await mustBeAccepted(ask, merge(CHECKPOINT, { data: checkpointData('5000') }));
  await lab.kubernetes.apply(...THEIRS);
  return { lab, ask, forget };
}

export async function closeKubernetes({ lab, forget }: KubernetesWorld): Promise<void> {
  forget();
  await lab.kubernetes.remove(...THEIRS, ...THEIR_SERVICES);
  await lab.kubernetes.remove(...THEIR_NAMESPACES);
  await removeOurs(lab.kubernetes);
  await lab.kubernetes.remove(CHECKPOINT, SECRET);
  await until(
    async () => ((await lab.kubernetes.call('GET', '/api/v1/namespaces')) as { items: KubeObject[] }).items,
    (left) => !left.some(({ metadata }) => THEIR_NAMESPACES.some((one) => one.metadata.name === metadata.name)),
    60,
  );
  await lab.down();
}

/** The API server compiles admission policies some time after they are written. */
async function untilInForce(ask: KubernetesWorld['ask']): Promise<void> {
  const refused = [
    ...[account('x', 'shop'), plain('Namespace', 'x'), changed(ALLOW, 'metadata labels', {})],
    changed(ALLOW, 'spec selector matchLabels', { app: 'web' }),
    boundTo('meshpass-theirs'),
  ];
  for (const request of [...refused.map((object) => post(object)), merge(CHECKPOINT, { data: { size: 'x' } })]) {
    await until(
      () => ask(request),
      ({ answer }) => answer.includes('ValidatingAdmissionPolicy'),
    );
  }
}

async function mustBeAccepted(ask: KubernetesWorld['ask'], request: Request): Promise<void> {
  const { accepted, answer } = await ask({ ...request, dryRun: false });
  if (!accepted) throw new Error(`the broker could not prepare ${request.path}: ${answer}`);
}
