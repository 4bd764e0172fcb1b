/** Attacks with namespaces, ServiceAccounts and their tokens that give an identity outside of grants. */
import type { KubeObject } from '@meshpass/lab';
import { account, NAMESPACE, OURS } from './honest.ts';
import { apply, changed, merge, post, type Request, remove } from './requests.ts';

export type Row = readonly [fault: string, attack: Request, control: Request, code: string];

const token = (namespace: string, name: string, spec: object): Request => ({
  method: 'POST',
  path: `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`,
  dryRun: true,
  body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec },
});
const spec = { audiences: ['istio-ca'], expirationSeconds: 600 };
const TOKEN = token('meshpass-hostile', 'honest', spec);
const API = 'https://kubernetes.default.svc.cluster.local';
const ONLY_ISTIOD = 'only for tokens for istiod';
const NO_BUSINESS = 'no business with ServiceAccounts outside';
const mine = (more: object) => token('meshpass-hostile', 'honest', { ...spec, ...more });
const secret = { kind: 'Secret', apiVersion: 'v1', name: 'theirs' };

const TOKENS: readonly Row[] = [
  ['a token for the Kubernetes API', mine({ audiences: [API] }), TOKEN, ONLY_ISTIOD],
  ['a token without an audience', mine({ audiences: undefined }), TOKEN, ONLY_ISTIOD],
  ['a token for istiod and the Kubernetes API', mine({ audiences: ['istio-ca', API] }), TOKEN, ONLY_ISTIOD],
  ['a token for the broker, as an edge has it', mine({ audiences: ['meshpass-broker'] }), TOKEN, ONLY_ISTIOD],
  ['a token for an hour', mine({ expirationSeconds: 3_600 }), TOKEN, ONLY_ISTIOD],
  ['a token for as long as Kubernetes likes', mine({ expirationSeconds: undefined }), TOKEN, ONLY_ISTIOD],
  ['a token bound to a Secret', mine({ boundObjectRef: secret }), TOKEN, ONLY_ISTIOD],
  ['a token of a workload', token('shop', 'orders', spec), TOKEN, NO_BUSINESS],
  ['a token of its own gateway', token('meshpass-system', 'meshpass-gateway', spec), TOKEN, NO_BUSINESS],
  ['a token of itself', token('meshpass-system', 'meshpass-broker', spec), TOKEN, NO_BUSINESS],
  ['a token in a meshpass-* namespace of others', token('meshpass-theirs', 'theirs', spec), TOKEN, NO_BUSINESS],
];

const HONEST = account('another', 'meshpass-hostile');
const MADE = post(HONEST);
const GONE = remove(account('honest', 'meshpass-hostile'));
const HOLD_NOTHING = 'ServiceAccounts that hold nothing';
const made = (at: string, value: unknown) => post(changed(HONEST, at, value));

const ACCOUNTS: readonly Row[] = [
  ['a ServiceAccount in a namespace of workloads', post(account('x', 'shop')), MADE, NO_BUSINESS],
  ['a ServiceAccount beside istiod', post(account('x', 'istio-system')), MADE, NO_BUSINESS],
  ['a ServiceAccount in kube-system', post(account('x', 'kube-system')), MADE, NO_BUSINESS],
  ['a ServiceAccount in a meshpass-* namespace of others', post(account('x', 'meshpass-theirs')), MADE, NO_BUSINESS],
  [
    'a ServiceAccount that a cloud takes for a role',
    made('metadata annotations', { 'eks.amazonaws.com/role-arn': 'arn:aws:iam::1:role/admin' }),
    MADE,
    HOLD_NOTHING,
  ],
  ['a ServiceAccount that Pods mount', made('automountServiceAccountToken', true), MADE, HOLD_NOTHING],
  ['a ServiceAccount with a Secret', made('secrets', [{ name: 'theirs' }]), MADE, HOLD_NOTHING],
  ['a ServiceAccount that pulls images', made('imagePullSecrets', [{ name: 'theirs' }]), MADE, HOLD_NOTHING],
  [
    'a ServiceAccount that is not labelled as its own',
    made('metadata labels', {}),
    MADE,
    'only ServiceAccounts of its own',
  ],
  [
    'deletion of a ServiceAccount of others in a namespace of its own',
    remove(account('theirs', 'meshpass-hostile')),
    GONE,
    'only ServiceAccounts of its own',
  ],
  ['deletion of the ServiceAccount of a workload', remove(account('orders', 'shop')), GONE, NO_BUSINESS],
  [
    'deletion of a ServiceAccount labelled as its own in a meshpass-* namespace of others',
    remove(account('theirs', 'meshpass-theirs')),
    GONE,
    NO_BUSINESS,
  ],
];

const named = (name: string): KubeObject => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
const KEPT = apply(NAMESPACE);
const ENDED = remove(NAMESPACE);
const THAT_IT_MADE = 'only namespaces that it made';
const ONLY_GRANTS = 'only namespaces meshpass-GRANT';
const theirs = changed(named('meshpass-theirs'), 'metadata labels', { ...OURS, 'meshpass.dev/grant': 'theirs' });
const another = changed(named('meshpass-new'), 'metadata labels', { ...OURS, 'meshpass.dev/grant': 'new' });
const generated = changed(changed(another, 'metadata name', undefined), 'metadata generateName', 'meshpass-');
const labelled = (label: string, value: string) => apply(changed(NAMESPACE, `metadata labels ${label}`, value));
const annotated = (name: string, value: string) => apply(changed(NAMESPACE, `metadata annotations ${name}`, value));
const merged = (object: KubeObject) => merge(object, { metadata: object.metadata });
const owner = { apiVersion: 'v1', kind: 'Namespace', name: 'shop', uid: '00000000-0000-0000-0000-000000000000' };

const NAMESPACES: readonly Row[] = [
  ['deletion of a namespace of workloads', remove(named('shop')), ENDED, ONLY_GRANTS],
  ['deletion of its own namespace', remove(named('meshpass-system')), ENDED, ONLY_GRANTS],
  ['deletion of a meshpass-* namespace of others', remove(named('meshpass-theirs')), ENDED, THAT_IT_MADE],
  ['adoption of a meshpass-* namespace of others', apply(theirs), KEPT, THAT_IT_MADE],
  ['its adoption as another field manager', apply(theirs, { manager: 'kubectl' }), KEPT, THAT_IT_MADE],
  ['its adoption by a merge patch', merged(theirs), merged(NAMESPACE), THAT_IT_MADE],
  [
    'a namespace of another name',
    post({ ...another, metadata: named('payments').metadata }),
    post(another),
    ONLY_GRANTS,
  ],
  ['a namespace of a generated name', post(generated), post(another), 'meshpass-namespaces'],
  ['a namespace for the grant of another', labelled('meshpass.dev/grant', 'other'), KEPT, THAT_IT_MADE],
  ['a namespace with injection of sidecars', labelled('istio-injection', 'enabled'), KEPT, 'no labels but its own'],
  ['a namespace in ambient mode', labelled('istio.io/dataplane-mode', 'ambient'), KEPT, 'no labels but its own'],
  [
    'a namespace in which Pods may do anything',
    labelled('pod-security.kubernetes.io/enforce', 'privileged'),
    KEPT,
    'no labels but its own',
  ],
  [
    'a namespace that a cloud gives rights to',
    annotated('iam.amazonaws.com/permitted', '.*'),
    KEPT,
    'no annotations but its own',
  ],
  [
    'a namespace that belongs to another object',
    apply(changed(NAMESPACE, 'metadata ownerReferences', [owner])),
    KEPT,
    'no owners',
  ],
  [
    'a namespace that cannot end',
    apply(changed(NAMESPACE, 'metadata finalizers', ['meshpass.dev/never'])),
    KEPT,
    'no finalizers',
  ],
  ['the status of a namespace', apply(NAMESPACE, { path: `${KEPT.path}/status` }), KEPT, 'namespaces/status'],
];

export const IDENTITIES: readonly Row[] = [...TOKENS, ...ACCOUNTS, ...NAMESPACES];
