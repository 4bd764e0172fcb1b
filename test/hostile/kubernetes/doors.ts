/** Gateway, RoleBinding, and other kinds of an API server. */
import { BINDING, boundTo, GATEWAY, GUARD, group, HOST, RECOGNISE, roleBinding } from './honest.ts';
import type { Row } from './identities.ts';
import { apply, changed, get, pathOf, type Request, remove } from './requests.ts';

const OPENED = apply(GATEWAY);
const ONLY_GRANTABLE = 'only to services that may be granted, encrypted from end to end';
const SERVER = 'spec servers 0';
const door = (at: string, value: unknown) => apply(changed(GATEWAY, at, value));
const hosts = (...names: string[]) => door(`${SERVER} hosts`, names);
const [server] = (GATEWAY.spec as { servers: [object] }).servers;
const ofVersion = (version: string, wide: boolean) => {
  const gateway = changed(GATEWAY, 'apiVersion', `networking.istio.io/${version}`);
  return apply(wide ? changed(gateway, `${SERVER} hosts`, ['*']) : gateway);
};

const GATEWAYS: readonly Row[] = [
  ['a Gateway to every host', hosts('*'), OPENED, ONLY_GRANTABLE],
  ['a Gateway to every host by v1beta1', ofVersion('v1beta1', true), ofVersion('v1beta1', false), ONLY_GRANTABLE],
  ['a Gateway to every host by v1alpha3', ofVersion('v1alpha3', true), ofVersion('v1alpha3', false), ONLY_GRANTABLE],
  ['a Gateway to every host of a namespace', hosts('*.shop.svc.cluster.local'), OPENED, ONLY_GRANTABLE],
  [
    'a Gateway to a service that may not be granted',
    hosts(HOST, 'salaries.payroll.svc.cluster.local'),
    OPENED,
    ONLY_GRANTABLE,
  ],
  [
    'a Gateway to a service beside one that may be granted',
    hosts('salaries.billing.svc.cluster.local'),
    hosts('invoices.billing.svc.cluster.local'),
    ONLY_GRANTABLE,
  ],
  ['a Gateway to istiod', hosts('istiod.istio-system.svc.cluster.local'), OPENED, ONLY_GRANTABLE],
  ['a Gateway to the API server', hosts('kubernetes.default.svc.cluster.local'), OPENED, ONLY_GRANTABLE],
  ['a Gateway to hosts outside', hosts('payroll.example.com'), OPENED, ONLY_GRANTABLE],
  ['a Gateway to a host of a namespace', hosts(`shop/${HOST}`), OPENED, ONLY_GRANTABLE],
  ['a Gateway for the public gateway', door('spec selector', { istio: 'ingressgateway' }), OPENED, ONLY_GRANTABLE],
  ['a Gateway for every gateway', door('spec selector', undefined), OPENED, 'meshpass-policies'],
  ['a Gateway on another port', door(`${SERVER} port number`, 443), OPENED, ONLY_GRANTABLE],
  ['a Gateway for plain HTTP', door(`${SERVER} port protocol`, 'HTTP'), OPENED, ONLY_GRANTABLE],
  [
    'a Gateway that ends TLS',
    door(`${SERVER} tls`, { mode: 'SIMPLE', credentialName: 'theirs' }),
    OPENED,
    ONLY_GRANTABLE,
  ],
  ['a Gateway to what VirtualServices say', door(`${SERVER} tls mode`, 'PASSTHROUGH'), OPENED, ONLY_GRANTABLE],
  [
    'a Gateway with a second server',
    door('spec servers', [server, { ...server, hosts: ['*'] }]),
    OPENED,
    ONLY_GRANTABLE,
  ],
  ['a Gateway on an address of its own', door(`${SERVER} bind`, '0.0.0.0'), OPENED, ONLY_GRANTABLE],
  ['a second Gateway', door('metadata name', 'meshpass-2'), OPENED, 'only the Gateway meshpass-system/meshpass'],
  ['a Gateway elsewhere', door('metadata namespace', 'shop'), OPENED, 'cannot patch resource'],
  [
    'deletion of a Gateway of others',
    remove(changed(GATEWAY, 'metadata name', 'theirs')),
    remove(GATEWAY),
    'of its own',
  ],
];

const BOUND = apply(BINDING);
const ITS_ACCOUNTS = 'binds roles only to the ServiceAccounts of its grants';
const NOT_THERE = 'binds roles only where services may be granted';
const bind = (at: string, value: unknown) => apply(changed(BINDING, at, value));
const SUBJECT = { kind: 'ServiceAccount', name: 'meshpass-broker', namespace: 'meshpass-system' };
const mine = group('system:serviceaccounts:meshpass-hostile');
const user = { ...group('system:serviceaccounts:meshpass-hostile'), kind: 'User' };

const BINDINGS: readonly Row[] = [
  ...['kube-system', 'kube-public', 'istio-system', 'meshpass-system', 'payroll', 'default'].map(
    (namespace): Row => [`view bound in ${namespace}`, apply(roleBinding(namespace)), BOUND, NOT_THERE],
  ),
  // Kubernetes itself lets it: it has these rights.
  [
    'its own rights bound to a grant',
    apply(roleBinding('shop', 'meshpass-broker')),
    BOUND,
    'only roles that it has been given to bind',
  ],
  [
    'discovery bound to a grant',
    apply(roleBinding('shop', 'system:discovery')),
    BOUND,
    'only roles that it has been given to bind',
  ],
  ['edit bound to a grant', apply(roleBinding('shop', 'edit')), BOUND, 'forbidden'],
  ['cluster-admin bound to a grant', apply(roleBinding('shop', 'cluster-admin')), BOUND, 'forbidden'],
  ['a Role of a namespace bound', bind('roleRef kind', 'Role'), BOUND, 'not found'],
  ['a role bound to itself', bind('subjects', [SUBJECT]), BOUND, ITS_ACCOUNTS],
  ['a role bound to all users', bind('subjects', [group('system:authenticated')]), BOUND, ITS_ACCOUNTS],
  ['a role bound to strangers', bind('subjects', [group('system:unauthenticated')]), BOUND, ITS_ACCOUNTS],
  ['a role bound to all ServiceAccounts', bind('subjects', [group('system:serviceaccounts')]), BOUND, ITS_ACCOUNTS],
  [
    'a role bound to its own namespace',
    bind('subjects', [group('system:serviceaccounts:meshpass-system')]),
    BOUND,
    ITS_ACCOUNTS,
  ],
  [
    'a role bound to a meshpass-* namespace of others',
    apply(boundTo('meshpass-theirs')),
    apply(boundTo('meshpass-hostile')),
    'only to the ServiceAccounts of namespaces that it made',
  ],
  ['a role bound to workloads', bind('subjects', [group('system:serviceaccounts:shop')]), BOUND, ITS_ACCOUNTS],
  ['a role bound to a user of that name', bind('subjects', [user]), BOUND, ITS_ACCOUNTS],
  ['a role bound to a second subject', bind('subjects', [mine, SUBJECT]), BOUND, ITS_ACCOUNTS],
  ['a role bound to no subject', bind('subjects', undefined), BOUND, ITS_ACCOUNTS],
  ['a binding under another name', bind('metadata name', 'view'), BOUND, ITS_ACCOUNTS],
  [
    'a binding of others',
    remove(changed(BINDING, 'metadata name', 'meshpass-hostile.theirs')),
    remove(BINDING),
    'of its own',
  ],
];

const rbac = '/apis/rbac.authorization.k8s.io/v1';
const istio = '/apis/networking.istio.io/v1/namespaces/shop';
const admission = '/apis/admissionregistration.k8s.io/v1';
const SERVICES = get('/api/v1/services');
const of = (method: Request['method'], path: string): Request => ({ method, path, body: {}, dryRun: true });
const patch = (path: string): Request => ({ ...of('PATCH', path), contentType: 'application/merge-patch+json' });

/** Requests that RBAC alone refuses, beside requests that it allows. */
const RIGHTS: readonly Row[] = [
  ['Secrets read', get('/api/v1/namespaces/istio-system/secrets'), SERVICES, 'cannot list resource'],
  [
    'the CA key of the mesh read',
    get('/api/v1/namespaces/istio-system/secrets/istio-ca-secret'),
    SERVICES,
    'cannot get resource',
  ],
  ['its own Secrets read', get('/api/v1/namespaces/meshpass-system/secrets'), SERVICES, 'cannot list resource'],
  [
    'the roots of the mesh changed',
    patch('/api/v1/namespaces/istio-system/configmaps/istio-ca-root-cert'),
    OPENED,
    'cannot patch resource',
  ],
  [
    'the configuration of the mesh changed',
    patch('/api/v1/namespaces/istio-system/configmaps/istio'),
    OPENED,
    'cannot patch resource',
  ],
  ['a Pod made', of('POST', '/api/v1/namespaces/meshpass-hostile/pods'), OPENED, 'cannot create resource'],
  [
    'a command run in a Pod',
    of('POST', '/api/v1/namespaces/shop/pods/orders/exec?command=id'),
    OPENED,
    'cannot create resource',
  ],
  [
    'the API server as a proxy to a Pod',
    get('/api/v1/namespaces/shop/pods/orders/proxy/'),
    SERVICES,
    'cannot get resource',
  ],
  ['itself made administrator', of('POST', `${rbac}/clusterrolebindings`), OPENED, 'cannot create resource'],
  ['its own role widened', patch(`${rbac}/clusterroles/meshpass-broker`), OPENED, 'cannot patch resource'],
  ['a role made', of('POST', `${rbac}/namespaces/shop/roles`), OPENED, 'cannot create resource'],
  ...[
    ...['meshpass-accounts', 'meshpass-grants', 'meshpass-namespaces', 'meshpass-policies', 'meshpass-workloads'],
    ...['meshpass-audit-checkpoint', 'meshpass-audit-checkpoint-deletion', 'meshpass-signing-key'],
  ].flatMap((name): Row[] => [
    [
      `the policy ${name} loosened`,
      patch(`${admission}/validatingadmissionpolicies/${name}`),
      OPENED,
      'cannot patch resource',
    ],
    [
      `the policy ${name} unbound`,
      of('DELETE', `${admission}/validatingadmissionpolicybindings/${name}`),
      OPENED,
      'cannot delete resource',
    ],
  ]),
  ['a webhook', of('POST', `${admission}/mutatingwebhookconfigurations`), OPENED, 'cannot create resource'],
  ['traffic routed', of('POST', `${istio}/virtualservices`), OPENED, 'cannot create resource'],
  ['filters in Envoy', of('POST', `${istio}/envoyfilters`), OPENED, 'cannot create resource'],
  [
    'mutual TLS switched off',
    of('POST', '/apis/security.istio.io/v1/namespaces/shop/peerauthentications'),
    OPENED,
    'cannot create resource',
  ],
  ['a Service for its own address', of('POST', '/api/v1/namespaces/shop/services'), OPENED, 'cannot create resource'],
  [
    'a client certificate of Kubernetes',
    of('POST', '/apis/certificates.k8s.io/v1/certificatesigningrequests'),
    OPENED,
    'cannot create resource',
  ],
  [
    'a Lease',
    of('POST', '/apis/coordination.k8s.io/v1/namespaces/kube-system/leases'),
    OPENED,
    'cannot create resource',
  ],
  [
    'a ServiceAccount changed',
    patch('/api/v1/namespaces/meshpass-hostile/serviceaccounts/honest'),
    OPENED,
    'cannot patch resource',
  ],
  ['a guard replaced', { ...of('PUT', pathOf(GUARD)), body: GUARD }, apply(GUARD), 'cannot update resource'],
  ['the recognition of tokens taken away', remove(RECOGNISE), apply(RECOGNISE), 'cannot delete resource'],
];

export const DOORS: readonly Row[] = [...GATEWAYS, ...BINDINGS, ...RIGHTS];
