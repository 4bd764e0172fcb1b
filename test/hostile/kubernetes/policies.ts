/** AuthorizationPolicy and RequestAuthentication: who may call whom, beyond what may be granted. */
import type { KubeObject } from '@meshpass/lab';
import { ALLOW, DENY, GUARD, INVOICES_LABELS, OF_HOST, onThisPort, RECOGNISE } from './honest.ts';
import type { Row } from './identities.ts';
import { apply, changed, merge, pathOf, post, type Request, remove } from './requests.ts';

const ALLOWED = apply(ALLOW);
const NEW = changed(ALLOW, 'metadata name', 'meshpass-new');
const GUARDED = apply(GUARD);
const ONLY_GRANTS = 'only about the identities of its grants';
const ONLY_WHERE = 'only where services may be granted';
const ONLY_SERVICES = 'allows only services that may be granted';
const ONLY_ITS_WORKLOADS = 'only at the workloads that its Service selects';
const FOR_SIDECARS = 'policies that allow or deny, for sidecars';
const ITS_OWN = 'only policies, gateways, Sidecars and bindings of its own';

const allow = (at: string, value: unknown) => apply(changed(ALLOW, at, value));
const guard = (at: string, value: unknown) => apply(changed(GUARD, at, value));
const SOURCE = 'spec rules 0 from 0 source';
const callers = (source: object) => allow(SOURCE, source);
const denied = (source: object) => guard(SOURCE, source);
const mine = { namespaces: ['meshpass-hostile'] };
const honestRule = { from: [{ source: mine }], when: onThisPort };
const sni = (...values: string[]) => allow('spec rules 0 when 1 values', values);
const inside = (object: KubeObject, namespace: string) => changed(object, 'metadata namespace', namespace);
const old = (object: KubeObject) => changed(object, 'apiVersion', 'security.istio.io/v1beta1');

const sniOf = (service: string) => `*_.${service}.svc.cluster.local`;
/** An honest ALLOW for a service, at the workloads with these labels. */
const toService = (name: string, namespace: string, matchLabels: Readonly<Record<string, string>>) =>
  changed(changed(inside(ALLOW, namespace), 'spec selector matchLabels', matchLabels), 'spec rules 0 when 1 values', [
    sniOf(`${name}.${namespace}`),
  ]);
const INVOICES = toService('invoices', 'billing', INVOICES_LABELS);
const toLedger = changed(ALLOW, 'spec rules 0 when 1 values', [sniOf('ledger-db.shop')]);
const [ledgerRule] = (toLedger.spec as { rules: [object] }).rules;

const ALLOWS: readonly Row[] = [
  [
    'an ALLOW for a service beside one that may be granted',
    apply(toService('salaries', 'billing', { app: 'salaries' })),
    apply(INVOICES),
    ONLY_SERVICES,
  ],
  [
    'an ALLOW for a service that may be granted, at a workload of another',
    apply(toService('invoices', 'billing', { app: 'salaries' })),
    apply(INVOICES),
    ONLY_ITS_WORKLOADS,
  ],
  [
    'an ALLOW at some of the labels of a Service, which others have as well',
    apply(toService('invoices', 'billing', { app: 'invoices' })),
    apply(toService('invoices', 'billing', { ...INVOICES_LABELS, track: 'stable' })),
    ONLY_ITS_WORKLOADS,
  ],
  [
    'an ALLOW for two services, at workloads of one',
    sni(OF_HOST, sniOf('ledger-db.shop')),
    ALLOWED,
    ONLY_ITS_WORKLOADS,
  ],
  [
    'an ALLOW for a second service in a second rule',
    allow('spec rules', [honestRule, ledgerRule]),
    allow('spec rules', [honestRule, honestRule]),
    ONLY_ITS_WORKLOADS,
  ],
  [
    'an ALLOW for a service at workloads of another by v1beta1',
    apply(old(changed(ALLOW, 'spec selector matchLabels', { app: 'web' }))),
    apply(old(ALLOW)),
    ONLY_ITS_WORKLOADS,
  ],
  [
    'an ALLOW for a Service that selects nothing',
    apply(toService('theirs', 'shop', { app: 'orders' })),
    ALLOWED,
    ONLY_ITS_WORKLOADS,
  ],
  ['an ALLOW of everything to every caller', allow('spec rules', [{}]), ALLOWED, ONLY_GRANTS],
  ['an ALLOW of everything by v1beta1', apply(old(changed(ALLOW, 'spec rules', [{}]))), apply(old(ALLOW)), ONLY_GRANTS],
  ['an ALLOW that closes a workload to every caller', allow('spec rules', []), ALLOWED, ONLY_GRANTS],
  ['an ALLOW with no rules at all', allow('spec rules', undefined), ALLOWED, ONLY_GRANTS],
  ['an ALLOW with a second rule for every caller', allow('spec rules', [honestRule, {}]), ALLOWED, ONLY_GRANTS],
  ['an ALLOW from nowhere', allow('spec rules 0 from', []), ALLOWED, ONLY_GRANTS],
  ['an ALLOW from anybody', allow('spec rules 0 from', undefined), ALLOWED, ONLY_GRANTS],
  [
    'an ALLOW with a second source',
    allow('spec rules 0 from', [{ source: mine }, { source: { principals: ['*'] } }]),
    ALLOWED,
    ONLY_GRANTS,
  ],
  ['an ALLOW to every principal', callers({ principals: ['*'] }), ALLOWED, ONLY_GRANTS],
  ['an ALLOW to a workload', callers({ principals: ['cluster.local/ns/dev/sa/web'] }), ALLOWED, ONLY_GRANTS],
  ['an ALLOW to accounts of a grant in any namespace', callers({ principals: ['*/sa/honest'] }), ALLOWED, ONLY_GRANTS],
  [
    'an ALLOW to the mesh gateway',
    callers({ principals: ['cluster.local/ns/meshpass-system/sa/meshpass-gateway'] }),
    ALLOWED,
    ONLY_GRANTS,
  ],
  [
    'an ALLOW to all but one principal',
    callers({ notPrincipals: ['cluster.local/ns/dev/sa/web'] }),
    ALLOWED,
    ONLY_GRANTS,
  ],
  ['an ALLOW to all but one namespace', callers({ notNamespaces: ['dev'] }), ALLOWED, ONLY_GRANTS],
  ['an ALLOW to every namespace', callers({ namespaces: ['*'] }), ALLOWED, ONLY_GRANTS],
  ['an ALLOW to every meshpass-* namespace', callers({ namespaces: ['meshpass-*'] }), ALLOWED, ONLY_GRANTS],
  ['an ALLOW to the namespace of the broker', callers({ namespaces: ['meshpass-system'] }), ALLOWED, ONLY_GRANTS],
  ['an ALLOW to another namespace beside', callers({ namespaces: ['meshpass-hostile', 'dev'] }), ALLOWED, ONLY_GRANTS],
  ['an ALLOW to addresses', callers({ ipBlocks: ['0.0.0.0/0'] }), ALLOWED, ONLY_GRANTS],
  ['an ALLOW for every caller with a token', callers({ requestPrincipals: ['*'] }), ALLOWED, ONLY_GRANTS],
  ['an ALLOW to service accounts of a workload', callers({ serviceAccounts: ['dev/web'] }), ALLOWED, ONLY_GRANTS],
  ['an ALLOW in the whole mesh', apply(inside(ALLOW, 'istio-system')), ALLOWED, ONLY_WHERE],
  ['an ALLOW where nothing may be granted', apply(inside(ALLOW, 'payroll')), ALLOWED, ONLY_WHERE],
  ['an ALLOW in kube-system', apply(inside(ALLOW, 'kube-system')), ALLOWED, ONLY_WHERE],
  ['an ALLOW beside the broker', apply(inside(ALLOW, 'meshpass-system')), ALLOWED, ONLY_WHERE],
  ['an ALLOW on every workload of a namespace', allow('spec selector', undefined), ALLOWED, ONLY_SERVICES],
  ['an ALLOW whose selector is empty', post(changed(NEW, 'spec selector matchLabels', {})), post(NEW), ONLY_SERVICES],
  ['an ALLOW on every port', allow('spec rules 0 when', undefined), ALLOWED, ONLY_SERVICES],
  [
    'an ALLOW with another condition only',
    allow('spec rules 0 when', [{ key: 'destination.port', values: ['8080'] }]),
    ALLOWED,
    ONLY_SERVICES,
  ],
  [
    'an ALLOW for whatever server name',
    sni('*'),
    sni('outbound_.8080_._.orders.shop.svc.cluster.local'),
    ONLY_SERVICES,
  ],
  ['an ALLOW for every host of a namespace', sni('*.shop.svc.cluster.local'), ALLOWED, ONLY_SERVICES],
  ['an ALLOW for hosts that end alike', sni('*orders.shop.svc.cluster.local'), ALLOWED, ONLY_SERVICES],
  ['an ALLOW for a host hidden behind another', sni('*_.salaries.payroll_.orders.shop.svc.x'), ALLOWED, ONLY_SERVICES],
  ['an ALLOW for a service of another namespace', sni('*_.web.dev.svc.cluster.local'), ALLOWED, ONLY_SERVICES],
  ['an ALLOW for a second server name', sni(OF_HOST, 'payroll.example.com'), ALLOWED, ONLY_SERVICES],
  [
    'an ALLOW for all server names but one',
    allow('spec rules 0 when 1', { key: 'connection.sni', notValues: [OF_HOST] }),
    ALLOWED,
    ONLY_SERVICES,
  ],
  ['a policy without an action, which is ALLOW', allow('spec action', undefined), ALLOWED, FOR_SIDECARS],
  [
    'a policy that asks an external authorizer',
    apply(changed(changed(ALLOW, 'spec action', 'CUSTOM'), 'spec provider', { name: 'ext' })),
    ALLOWED,
    FOR_SIDECARS,
  ],
  ['a policy that audits', allow('spec action', 'AUDIT'), ALLOWED, FOR_SIDECARS],
  [
    'an ALLOW on a gateway',
    apply(
      changed(changed(ALLOW, 'spec selector', undefined), 'spec targetRefs', [
        { group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'public' },
      ]),
    ),
    ALLOWED,
    FOR_SIDECARS,
  ],
];

const theirs = inside(
  changed(changed(ALLOW, 'metadata name', 'meshpass-theirs'), 'metadata labels', undefined),
  'shop',
);
const taken = changed(ALLOW, 'metadata name', 'meshpass-theirs');
const relabel = { metadata: { labels: ALLOW.metadata.labels } };
const json = (object: KubeObject, body: readonly unknown[]): Request => ({
  method: 'PATCH',
  path: pathOf(object),
  body,
  contentType: 'application/json-patch+json',
  dryRun: true,
});
const generated = (prefix: string) =>
  post(changed(changed(ALLOW, 'metadata name', undefined), 'metadata generateName', prefix));
const noAction = json(ALLOW, [{ op: 'test', path: '/spec/action', value: 'ALLOW' }]);

const OTHERS: readonly Row[] = [
  ['a DENY of everything to every caller', guard('spec rules', [{}]), GUARDED, ONLY_GRANTS],
  ['a DENY of every principal', denied({ principals: ['*'] }), GUARDED, ONLY_GRANTS],
  ['a DENY of all but its grants', denied({ notNamespaces: ['meshpass-hostile'] }), GUARDED, ONLY_GRANTS],
  ['a DENY of callers without a token', denied({ notRequestPrincipals: ['*'] }), GUARDED, ONLY_GRANTS],
  ['a DENY of a workload', denied({ namespaces: ['shop'] }), GUARDED, ONLY_GRANTS],
  ['a DENY where nothing may be granted', apply(inside(DENY, 'payroll')), apply(DENY), ONLY_WHERE],
  [
    'a guard that only pretends',
    guard('metadata annotations istio.io/dry-run', 'true'),
    GUARDED,
    'no annotations but its own',
  ],
  [
    'a policy of one revision of Istio',
    guard('metadata labels istio.io/rev', 'canary'),
    GUARDED,
    'no labels but its own',
  ],
  ['a policy that cannot be deleted', guard('metadata finalizers', ['meshpass.dev/never']), GUARDED, 'no finalizers'],
  ['a policy under another name', allow('metadata name', 'orders-callers'), ALLOWED, 'names its policies'],
  ['a policy of a generated name', generated('orders-'), generated('meshpass-'), 'names its policies'],
  ['a policy that is not labelled as its own', post(changed(NEW, 'metadata labels', {})), post(NEW), ITS_OWN],
  ['deletion of a policy of others', remove(theirs), remove(ALLOW), ITS_OWN],
  [
    'deletion of a policy of others in the root namespace',
    remove(inside(theirs, 'istio-system')),
    remove(GUARD),
    ITS_OWN,
  ],
  ['a policy of others, taken over', apply(taken), ALLOWED, ITS_OWN],
  ['a policy of others, relabelled', merge(theirs, relabel), merge(ALLOW, relabel), ITS_OWN],
  [
    'a policy of others, relabelled by JSON patch',
    json(theirs, [{ op: 'add', path: '/metadata/labels', value: ALLOW.metadata.labels }]),
    noAction,
    ITS_OWN,
  ],
  ['its label taken from a policy', merge(ALLOW, { metadata: { labels: null } }), merge(ALLOW, relabel), ITS_OWN],
  [
    'the rules of a policy of its own opened by JSON patch',
    json(ALLOW, [{ op: 'replace', path: '/spec/rules', value: [{}] }]),
    noAction,
    ONLY_GRANTS,
  ],
  [
    'all policies of a namespace deleted at once',
    { method: 'DELETE', path: pathOf(ALLOW).replace(/\/[^/]+$/, ''), dryRun: true },
    remove(ALLOW),
    'deletecollection',
  ],
  [
    'the status of a policy',
    apply(ALLOW, { path: `${pathOf(ALLOW)}/status` }),
    ALLOWED,
    'authorizationpolicies/status',
  ],
];

const RECOGNISED = apply(RECOGNISE);
const ITS_TOKENS = 'only how its own tokens are recognised';
const rule = (member: string, value: unknown) => apply(changed(RECOGNISE, `spec jwtRules 0 ${member}`, value));
const [honestJwt] = (RECOGNISE.spec as { jwtRules: [object] }).jwtRules;
const evil = { ...honestJwt, issuer: 'https://evil.example.com' };

const TOKENS: readonly Row[] = [
  ['tokens of another issuer', rule('issuer', 'https://evil.example.com'), RECOGNISED, ITS_TOKENS],
  ['tokens of a second issuer', apply(changed(RECOGNISE, 'spec jwtRules', [honestJwt, evil])), RECOGNISED, ITS_TOKENS],
  [
    'tokens of another issuer by v1beta1',
    apply(old(changed(RECOGNISE, 'spec jwtRules', [evil]))),
    apply(old(RECOGNISE)),
    ITS_TOKENS,
  ],
  ['tokens without an audience', rule('audiences', undefined), RECOGNISED, 'meshpass-policies'],
  ['tokens for another audience', rule('audiences', ['meshpass', 'payroll']), RECOGNISED, ITS_TOKENS],
  [
    'keys fetched from somewhere',
    apply(
      changed(
        changed(RECOGNISE, 'spec jwtRules 0 jwks', undefined),
        'spec jwtRules 0 jwksUri',
        'https://evil.example.com/keys',
      ),
    ),
    RECOGNISED,
    ITS_TOKENS,
  ],
  [
    'tokens in the header of others',
    rule('fromHeaders', [{ name: 'authorization', prefix: 'Bearer ' }]),
    RECOGNISED,
    ITS_TOKENS,
  ],
  ['tokens in the address', rule('fromParams', ['token']), RECOGNISED, ITS_TOKENS],
  ['tokens in a cookie', rule('fromCookies', ['session']), RECOGNISED, ITS_TOKENS],
  ['tokens that the workload gets', rule('forwardOriginalToken', true), RECOGNISED, ITS_TOKENS],
  [
    'claims in a header of others',
    rule('outputClaimToHeaders', [{ header: 'x-user', claim: 'sub' }]),
    RECOGNISED,
    ITS_TOKENS,
  ],
  ['a payload in a header', rule('outputPayloadToHeader', 'x-user'), RECOGNISED, ITS_TOKENS],
  [
    'tokens on some workloads only',
    apply(changed(RECOGNISE, 'spec selector', { matchLabels: { app: 'orders' } })),
    RECOGNISED,
    ITS_TOKENS,
  ],
  ['a second RequestAuthentication', apply(changed(RECOGNISE, 'metadata name', 'meshpass-2')), RECOGNISED, ITS_TOKENS],
  ['a RequestAuthentication in a namespace', apply(inside(RECOGNISE, 'shop')), RECOGNISED, 'cannot patch resource'],
  ['a RequestAuthentication of others', apply(changed(RECOGNISE, 'metadata name', 'theirs')), RECOGNISED, ITS_OWN],
  [
    'deletion of a RequestAuthentication of others',
    remove(changed(RECOGNISE, 'metadata name', 'theirs')),
    RECOGNISED,
    'cannot delete resource',
  ],
];

export const POLICIES: readonly Row[] = [...ALLOWS, ...OTHERS, ...TOKENS];
