/** Meshes of sidecars that differ in their policies. */
import { BOTH_PORTS, CLAIMS, FILES, type File, OPERATIONS, WHOLE } from './files.ts';
import { TEAM, TEAM_JWKS } from './inside.ts';
import { appOf, bare, type Mesh, namespaces, peers, policy, service, tokensOf } from './mesh.ts';

const CLOSED_TO_WEB = { 'web reads': '403', 'web refunds': '403', 'web on 9090': '403', 'web to ledger': 'closed' };

const INJECTION: File = {
  name: 'Pods with and without a sidecar',
  dev: '[{service: orders.shop, port: 8080, allow: [GET /orders/*]}, {service: web.dev, port: 80, allow: [GET /]}]',
  ops: '[{service: ledger-db.shop, port: 5432}, {service: batch.dev, port: 8080}]',
  granted: [
    ['dev', 'GET', 'orders.shop:8080', '/orders/1'],
    ['dev', 'GET', 'web.dev:80', '/'],
    ['ops', 'TCP', 'ledger-db.shop:5432', ''],
    ['ops', 'GET', 'batch.dev:8080', '/'],
  ],
  refused: [['ops', 'GET', 'web.dev:80', '/']],
};

export const SIDECAR: readonly Mesh[] = [
  { name: 'that is open', objects: () => [], cases: FILES.map((file) => ({ file })) },
  {
    name: 'that denies by default, with an ALLOW for each namespace',
    objects: () => [
      policy('istio-system', 'nothing', {}),
      policy('shop', 'own', { rules: [namespaces('shop')] }),
      policy('dev', 'own', { ...appOf('web'), rules: [namespaces('shop', 'dev')] }),
    ],
    inside: CLOSED_TO_WEB,
    cases: [{ file: OPERATIONS }, { file: WHOLE }],
  },
  {
    name: 'with a namespace that denies by default',
    objects: () => [
      policy('shop', 'nothing', {}),
      policy('shop', 'read', {
        ...appOf('orders'),
        rules: [{ ...namespaces('shop'), to: [{ operation: { methods: ['GET'], paths: ['/orders/*'] } }] }],
      }),
    ],
    inside: {
      ...CLOSED_TO_WEB,
      'client refunds': '403',
      'client administers': '403',
      'client on 9090': '403',
      'client to ledger': 'closed',
    },
    cases: [{ file: BOTH_PORTS }, { file: CLAIMS }],
  },
  {
    name: 'with ALLOWs by principals and ServiceAccounts',
    objects: () => [
      policy('istio-system', 'known', {
        rules: [
          { from: [{ source: { principals: ['cluster.local/ns/shop/sa/*'] } }] },
          { from: [{ source: { serviceAccounts: ['dev/web'] } }], to: [{ operation: { methods: ['GET'] } }] },
        ],
      }),
      policy('shop', 'ledger', {
        ...appOf('ledger-db'),
        rules: [{ from: [{ source: { principals: ['*/sa/client'] } }], to: [{ operation: { ports: ['5432'] } }] }],
      }),
    ],
    inside: { 'web refunds': '403', 'web to ledger': 'closed' },
    cases: [{ file: OPERATIONS }, { file: BOTH_PORTS }],
  },
  {
    name: 'with lists of addresses',
    objects: (ip) => [
      policy('shop', 'client', {
        ...appOf('orders'),
        rules: [{ from: [{ source: { ipBlocks: [ip('client')], notIpBlocks: [ip('web')] } }] }],
      }),
      policy('shop', 'not-web', {
        ...appOf('ledger-db'),
        action: 'DENY',
        rules: [{ from: [{ source: { ipBlocks: [`${ip('web')}/32`, '203.0.113.0/24'] } }] }],
      }),
      policy('dev', 'only-client', {
        ...appOf('web'),
        action: 'DENY',
        rules: [{ from: [{ source: { notIpBlocks: [ip('client')] } }] }],
      }),
    ],
    inside: CLOSED_TO_WEB,
    cases: [
      { file: OPERATIONS },
      {
        file: WHOLE,
        findings: [/^grant-does-not-work: grant dev does not work: every call is refused on web in dev/],
        broken: [['dev', 'GET', 'web.dev:80', '/']],
      },
    ],
  },
  {
    name: 'that requires a token of any issuer',
    objects: () => [
      tokensOf('shop', 'team', { jwtRules: [{ issuer: TEAM, jwks: TEAM_JWKS }] }),
      policy('shop', 'token', {
        ...appOf('orders'),
        action: 'DENY',
        rules: [{ from: [{ source: { notRequestPrincipals: ['*'] } }], to: [{ operation: { ports: ['8080'] } }] }],
      }),
    ],
    inside: {
      'client reads': '403',
      'client refunds': '403',
      'client administers': '403',
      'client reads in team red': '403',
      'web reads': '403',
      'web refunds': '403',
    },
    cases: [{ file: OPERATIONS }, { file: CLAIMS }],
  },
  {
    name: 'that requires a token of its own issuer, and allows tokens elsewhere',
    objects: () => [
      tokensOf('shop', 'team', { ...appOf('orders'), jwtRules: [{ issuer: TEAM, jwks: TEAM_JWKS }] }),
      policy('shop', 'team', {
        ...appOf('orders'),
        action: 'DENY',
        rules: [
          { from: [{ source: { notRequestPrincipals: [`${TEAM}/*`] } }], to: [{ operation: { ports: ['8080'] } }] },
        ],
      }),
      policy('shop', 'groups', {
        ...appOf('orders'),
        rules: [
          { when: [{ key: 'request.auth.claims[groups]', values: ['shop'] }] },
          { to: [{ operation: { ports: ['9090'] } }] },
        ],
      }),
    ],
    inside: {
      'client reads': '403',
      'client refunds': '403',
      'client administers': '403',
      'client reads in team red': '403',
      'web reads': '403',
      'web refunds': '403',
    },
    cases: [
      {
        file: BOTH_PORTS,
        findings: [
          /^grant-does-not-work: grant dev does not work: any method \/orders\/\* is refused on orders in shop, port 8080/,
          /^grant-does-not-work: grant ops does not work: POST \/refunds is refused on orders in shop, port 8080/,
        ],
        broken: [
          ['dev', 'PUT', 'orders.shop:8080', '/orders/1'],
          ['ops', 'POST', 'orders.shop:8080', '/refunds'],
        ],
      },
    ],
  },
  {
    name: 'with DENY lists',
    objects: () => [
      policy('istio-system', 'known', {
        rules: [{ from: [{ source: { principals: ['cluster.local/ns/shop/sa/*'] } }] }],
      }),
      policy('shop', 'lists', {
        ...appOf('orders'),
        action: 'DENY',
        rules: [
          { to: [{ operation: { paths: ['/admin*'], ports: ['8080'] } }] },
          { to: [{ operation: { methods: ['PUT', 'PATCH'], ports: ['8080'] } }] },
          { to: [{ operation: { hosts: ['old.example.com'], ports: ['8080'] } }] },
          { to: [{ operation: { ports: ['8080'] } }], when: [{ key: 'request.headers[x-team]', values: ['red'] }] },
        ],
      }),
      policy('dev', 'known-namespaces', {
        ...appOf('web'),
        action: 'DENY',
        rules: [{ from: [{ source: { notNamespaces: ['shop', 'dev'] } }] }],
      }),
    ],
    inside: { ...CLOSED_TO_WEB, 'client administers': '403', 'client reads in team red': '403' },
    cases: [
      {
        file: OPERATIONS,
        findings: [
          /^note: part of grant dev is refused: GET \/orders\/\* .* with header x-team red/,
          /^note: part of grant dev is refused: POST \/refunds .* with header x-team red/,
          /^note: part of grant dev is refused: GET \/orders\/\* .* with host old\.example\.com/,
        ],
      },
      {
        file: BOTH_PORTS,
        findings: [
          /^grant-does-not-work: grant dev does not work: PUT, PATCH \/orders\/\* is refused on orders in shop/,
          /^note: part of grant ops is refused: POST \/refunds .* with header x-team red/,
          /^note: part of grant ops is refused: POST \/refunds .* with host old\.example\.com/,
        ],
        broken: [['dev', 'PUT', 'orders.shop:8080', '/orders/1']],
      },
      {
        file: WHOLE,
        findings: [
          /^note: part of grant ops is refused: GET \/orders\/\{\*\}, \/whoami .* with header x-team red/,
          /^note: part of grant ops is refused: GET \/orders\/\{\*\}, \/whoami .* with host old\.example\.com/,
          /^grant-does-not-work: grant dev does not work: every call is refused on web in dev/,
        ],
        broken: [['dev', 'GET', 'web.dev:80', '/']],
      },
    ],
  },
  {
    name: 'with external authorizers',
    // It answers 200 to every request.
    config: {
      extensionProviders: [
        { name: 'opa', envoyExtAuthzHttp: { service: 'web.dev.svc.cluster.local', port: 80, timeout: '5s' } },
      ],
    },
    objects: () => [
      policy('shop', 'opa', {
        ...appOf('orders'),
        action: 'CUSTOM',
        provider: { name: 'opa' },
        rules: [{ to: [{ operation: { paths: ['/orders/*'], ports: ['8080'] } }] }],
      }),
      policy('dev', 'gone', {
        ...appOf('web'),
        action: 'CUSTOM',
        provider: { name: 'gone' },
        rules: [{ to: [{ operation: { paths: ['/admin*'] } }] }],
      }),
    ],
    cases: [
      {
        file: OPERATIONS,
        findings: [/^note: grant dev works only if the external authorizer opa agrees: GET \/orders\/\*/],
      },
      {
        file: WHOLE,
        findings: [
          /^note: grant ops works only if the external authorizer opa agrees: GET \/orders\/\{\*\}/,
          /^note: part of grant dev is refused: any method \/admin\* on web in dev/,
        ],
      },
    ],
  },
  {
    name: 'that is PERMISSIVE',
    objects: () => [
      peers('shop', 'mode', { mtls: { mode: 'PERMISSIVE' } }),
      peers('dev', 'mode', { mtls: { mode: 'PERMISSIVE' } }),
      policy('shop', 'identified', {
        ...appOf('orders'),
        action: 'DENY',
        rules: [{ from: [{ source: { notPrincipals: ['*'] } }], to: [{ operation: { ports: ['9090'] } }] }],
      }),
    ],
    inside: { 'plain text': '200', 'plain text on 9090': '403' },
    cases: [{ file: OPERATIONS }, { file: BOTH_PORTS }],
  },
  {
    name: 'that is STRICT, with exceptions for ports',
    objects: () => [
      peers('shop', 'orders', {
        ...appOf('orders'),
        mtls: { mode: 'STRICT' },
        portLevelMtls: { 9090: { mode: 'PERMISSIVE' } },
      }),
      peers('shop', 'ledger', { ...appOf('ledger-db'), portLevelMtls: { 5432: { mode: 'DISABLE' } } }),
    ],
    inside: { 'plain text on 9090': '200' },
    cases: [
      {
        file: BOTH_PORTS,
        findings: [/^grant-does-not-work: grant ops does not work: every call is refused on ledger-db in shop/],
        broken: [['ops', 'TCP', 'ledger-db.shop:5432', '']],
      },
    ],
  },
  {
    name: 'with two revisions of Istio, and Pods that opt out',
    labels: { shop: { 'istio.io/rev': 'stable' }, dev: { 'istio-injection': 'disabled' } },
    objects: (ip) => [
      policy('shop', 'canary', { ...appOf('orders') }, { labels: { 'istio.io/rev': 'canary' } }),
      bare('dev', 'batch', ip('meshpass'), { labels: { app: 'batch', 'sidecar.istio.io/inject': 'false' } }),
      ...service(() => ip('meshpass'), 'batch', {
        namespace: 'dev',
        app: 'batch',
        ports: [{ name: 'http', port: 8080, targetPort: 8080 }],
      }),
    ],
    cases: [
      {
        file: INJECTION,
        findings: [
          /^not-known: .* grant dev works on orders\.shop:8080.*only istiods of revision canary enforce AuthorizationPolicy shop\/habit-canary/,
          /^not-known: .* grant ops works on batch\.dev:8080.*no standard sidecar/,
          /^note: nothing is proven about orders in shop, port 9090/,
        ],
        unknown: ['batch.dev:8080', 'orders.shop:8080'],
      },
    ],
  },
  {
    name: 'with trust domain aliases',
    config: { trustDomainAliases: ['old.example'] },
    objects: () => [
      policy('shop', 'old-client', {
        ...appOf('orders'),
        rules: [{ from: [{ source: { principals: ['old.example/ns/shop/sa/client'] } }] }],
      }),
      policy('shop', 'no-ops', {
        ...appOf('ledger-db'),
        action: 'DENY',
        rules: [{ from: [{ source: { principals: ['old.example/ns/meshpass-ops/sa/*'] } }] }],
      }),
    ],
    inside: { 'web reads': '403', 'web refunds': '403', 'web on 9090': '403' },
    cases: [
      { file: WHOLE },
      {
        file: OPERATIONS,
        findings: [/^grant-does-not-work: grant ops does not work: every call is refused on ledger-db in shop/],
        broken: [['ops', 'TCP', 'ledger-db.shop:5432', '']],
      },
    ],
  },
  {
    name: 'with several ALLOWs and their conditions',
    objects: () => [
      policy('shop', 'red', {
        ...appOf('orders'),
        rules: [{ when: [{ key: 'request.headers[x-team]', values: ['red'] }] }],
      }),
      policy('shop', 'admin', {
        ...appOf('orders'),
        rules: [{ ...namespaces('dev'), when: [{ key: 'destination.port', values: ['9090'] }] }],
      }),
      policy('shop', 'databases', { rules: [{ ...namespaces('shop'), to: [{ operation: { ports: ['5432'] } }] }] }),
      policy('shop', 'blocked', {
        ...appOf('orders'),
        action: 'DENY',
        rules: [
          {
            to: [{ operation: { ports: ['8080', '9090'] } }],
            when: [
              { key: 'request.headers[x-blocked]', values: ['*'] },
              { key: 'source.namespace', values: ['shop'] },
            ],
          },
        ],
      }),
    ],
    inside: {
      'client reads': '403',
      'client refunds': '403',
      'client administers': '403',
      'client on 9090': '403',
      'client reads with a token': '403',
      'web reads': '403',
      'web refunds': '403',
      'web to ledger': 'closed',
    },
    cases: [{ file: OPERATIONS }, { file: BOTH_PORTS }, { file: CLAIMS }],
  },
];
