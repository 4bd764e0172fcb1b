/**
 * What members each kind has and of which type: enough to tell a misspelled or mistyped field, which Istio would leave
 * out in silence. A test holds this against the CustomResourceDefinitions of the Istio in the lab.
 */

import type { Path } from '../object/object.ts';
import type { ResourceKind } from '../object/resources.ts';

export type Shape =
  | 'text'
  | 'bool'
  | 'int'
  /** Not looked into. */
  | 'any'
  | { readonly list: Shape }
  | { readonly map: Shape }
  | { readonly oneOf: readonly string[] }
  | { readonly fields: Readonly<Record<string, Shape>> }
  /** Some of its members; others are not looked at. */
  | { readonly open: Readonly<Record<string, Shape>> };

export interface ShapeProblem {
  readonly path: Path;
  readonly part: 'key' | 'value';
  readonly unknown?: { readonly field: string; readonly known: readonly string[] };
  readonly message: string;
}

const TEXTS: Shape = { list: 'text' };
const LABELS: Shape = { map: 'text' };
const fields = (of: Readonly<Record<string, Shape>>): Shape => ({ fields: of });
const listOf = (shape: Shape): Shape => ({ list: shape });

const SELECTOR = fields({ matchLabels: LABELS });
const TARGET_REF = fields({ group: 'text', kind: 'text', name: 'text', namespace: 'text' });
const ATTACHMENT = { selector: SELECTOR, targetRef: TARGET_REF, targetRefs: listOf(TARGET_REF) };
const PORT = fields({ number: 'int', protocol: 'text', name: 'text', targetPort: 'int' });
const MTLS = fields({ mode: { oneOf: ['UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT'] } });
const LABEL_SELECTOR = fields({ labels: LABELS });

const both = (...names: string[]): Record<string, Shape> =>
  Object.fromEntries(
    names.flatMap((name) => [name, `not${name[0]!.toUpperCase()}${name.slice(1)}`]).map((n) => [n, TEXTS]),
  );

/** Of routes, TLS and patches, which are large and change: what decides about access, if it is there. */
const open = (of: Readonly<Record<string, Shape>>): Shape => ({ open: of });
const STRING_MATCH = open({ exact: 'text', prefix: 'text', regex: 'text' });
const DESTINATION = open({ host: 'text', subset: 'text', port: open({ number: 'int' }) });
const DESTINATIONS = listOf(open({ destination: DESTINATION, weight: 'int' }));
const MATCHES: Readonly<Record<string, Shape>> = {
  ...{ port: 'int', sourceLabels: LABELS, sourceNamespace: 'text', gateways: TEXTS },
  ...{ sniHosts: TEXTS, destinationSubnets: TEXTS },
};
const HTTP_ROUTE = open({
  name: 'text',
  match: listOf(
    open({
      ...MATCHES,
      ...{
        uri: STRING_MATCH,
        scheme: STRING_MATCH,
        method: STRING_MATCH,
        authority: STRING_MATCH,
        ignoreUriCase: 'bool',
      },
      ...{ headers: { map: STRING_MATCH }, withoutHeaders: { map: STRING_MATCH }, queryParams: { map: STRING_MATCH } },
    }),
  ),
  route: DESTINATIONS,
  redirect: open({}),
  directResponse: open({ status: 'int' }),
  delegate: open({ name: 'text', namespace: 'text' }),
  rewrite: open({ uri: 'text', authority: 'text' }),
  mirror: DESTINATION,
  mirrors: listOf(open({ destination: DESTINATION })),
  fault: open({ abort: open({}) }),
});
const L4_ROUTE = open({ match: listOf(open(MATCHES)), route: DESTINATIONS });
const CLIENT_TLS = open({ mode: 'text', insecureSkipVerify: 'bool', sni: 'text' });
const TRAFFIC_POLICY = open({
  tls: CLIENT_TLS,
  portLevelSettings: listOf(open({ port: open({ number: 'int' }), tls: CLIENT_TLS })),
});
const SERVER_TLS = open({ mode: 'text', httpsRedirect: 'bool', credentialName: 'text' });
const SUBSET = open({ name: 'text', labels: LABELS, trafficPolicy: TRAFFIC_POLICY });
const ENDPOINT = open({ address: 'text', ports: { map: 'int' }, labels: LABELS, serviceAccount: 'text' });
const PATCH = open({ applyTo: 'text', match: open({ context: 'text' }), patch: open({ operation: 'text' }) });

const SPECS = {
  AuthorizationPolicy: fields({
    ...ATTACHMENT,
    action: { oneOf: ['ALLOW', 'DENY', 'AUDIT', 'CUSTOM'] },
    provider: fields({ name: 'text' }),
    rules: listOf(
      fields({
        from: listOf(
          fields({
            source: fields(
              both(
                ...['principals', 'requestPrincipals', 'namespaces', 'serviceAccounts', 'trustDomains'],
                ...['ipBlocks', 'remoteIpBlocks'],
              ),
            ),
          }),
        ),
        to: listOf(fields({ operation: fields(both('hosts', 'ports', 'methods', 'paths')) })),
        when: listOf(fields({ key: 'text', values: TEXTS, notValues: TEXTS })),
      }),
    ),
  }),
  RequestAuthentication: fields({
    ...ATTACHMENT,
    jwtRules: listOf(
      fields({
        ...{ issuer: 'text', audiences: TEXTS, jwks: 'text', jwksUri: 'text', jwks_uri: 'text', timeout: 'text' },
        fromHeaders: listOf(fields({ name: 'text', prefix: 'text' })),
        ...{ fromParams: TEXTS, fromCookies: TEXTS, forwardOriginalToken: 'bool', outputPayloadToHeader: 'text' },
        outputClaimToHeaders: listOf(fields({ header: 'text', claim: 'text' })),
        spaceDelimitedClaims: TEXTS,
      }),
    ),
  }),
  PeerAuthentication: fields({ selector: SELECTOR, mtls: MTLS, portLevelMtls: { map: MTLS } }),
  Gateway: fields({
    selector: LABELS,
    servers: listOf(
      fields({ ...{ name: 'text', port: PORT, hosts: TEXTS, bind: 'text', tls: SERVER_TLS, defaultEndpoint: 'text' } }),
    ),
  }),
  VirtualService: fields({
    ...{ hosts: TEXTS, gateways: TEXTS, exportTo: TEXTS },
    ...{ http: listOf(HTTP_ROUTE), tls: listOf(L4_ROUTE), tcp: listOf(L4_ROUTE) },
  }),
  DestinationRule: fields({
    ...{
      host: 'text',
      trafficPolicy: TRAFFIC_POLICY,
      subsets: listOf(SUBSET),
      exportTo: TEXTS,
      workloadSelector: SELECTOR,
    },
  }),
  ServiceEntry: fields({
    ...{ hosts: TEXTS, addresses: TEXTS, ports: listOf(PORT), location: 'text', resolution: 'text' },
    ...{ endpoints: listOf(ENDPOINT), workloadSelector: LABEL_SELECTOR, exportTo: TEXTS, subjectAltNames: TEXTS },
  }),
  Sidecar: fields({
    workloadSelector: LABEL_SELECTOR,
    ...{ ingress: listOf('any'), egress: listOf('any'), outboundTrafficPolicy: 'any', inboundConnectionPool: 'any' },
  }),
  EnvoyFilter: fields({
    workloadSelector: LABEL_SELECTOR,
    ...{ targetRefs: listOf(TARGET_REF), configPatches: listOf(PATCH), priority: 'int' },
  }),
} satisfies Partial<Record<ResourceKind, Shape>>;

const EXTENSION: Shape = {
  open: { ...ATTACHMENT, match: listOf({ open: { mode: 'text' } }) },
};

const POD_TEMPLATE: Shape = {
  open: {
    metadata: { open: { labels: LABELS, annotations: LABELS } },
    spec: {
      open: {
        serviceAccountName: 'text',
        containers: listOf({ open: { ports: listOf({ open: { containerPort: 'int' } }) } }),
      },
    },
  },
};
const CONTROLLER: Shape = { open: { spec: { open: { template: POD_TEMPLATE } } } };
const RBAC_RULE: Shape = {
  open: { apiGroups: TEXTS, resources: TEXTS, resourceNames: TEXTS, nonResourceURLs: TEXTS, verbs: TEXTS },
};
const ROLE: Shape = { open: { rules: listOf(RBAC_RULE) } };
const REFERENCE: Record<string, Shape> = { kind: 'text', name: 'text', apiGroup: 'text' };
const BINDING: Shape = {
  open: { roleRef: { open: REFERENCE }, subjects: listOf({ open: { ...REFERENCE, namespace: 'text' } }) },
};

const OTHERS: Readonly<Partial<Record<ResourceKind, Shape>>> = {
  Service: {
    open: {
      spec: {
        open: {
          selector: LABELS,
          ports: listOf({ open: { port: 'int', name: 'text', protocol: 'text', appProtocol: 'text' } }),
        },
      },
    },
  },
  Pod: { open: { spec: { open: { serviceAccountName: 'text', containers: listOf({ open: {} }) } } } },
  ...{ WasmPlugin: { open: { spec: EXTENSION } }, TrafficExtension: { open: { spec: EXTENSION } } },
  KubernetesGateway: {
    open: {
      spec: { open: { gatewayClassName: 'text', listeners: listOf({ open: { port: 'int', protocol: 'text' } }) } },
    },
  },
  ...{
    Deployment: CONTROLLER,
    StatefulSet: CONTROLLER,
    DaemonSet: CONTROLLER,
    ReplicaSet: CONTROLLER,
    Job: CONTROLLER,
  },
  ...{ Role: ROLE, ClusterRole: ROLE, RoleBinding: BINDING, ClusterRoleBinding: BINDING },
  ConfigMap: { open: { data: LABELS } },
};

/** The shape of an object of a kind; undefined where nothing of it is looked at. */
export function objectShape(kind: string): { readonly open: Readonly<Record<string, Shape>> } | undefined {
  if (Object.hasOwn(SPECS, kind)) return { open: { spec: SPECS[kind as keyof typeof SPECS] } };
  return (OTHERS as Readonly<Record<string, { readonly open: Readonly<Record<string, Shape>> }>>)[kind];
}

/** What `value` has that `shape` does not. Members that are null are taken away: to Kubernetes they are not there. */
export function checkShape(value: unknown, shape: Shape, path: Path = []): ShapeProblem[] {
  const problems: ShapeProblem[] = [];
  walk(value, shape, path as (string | number)[], problems);
  return problems;
}

function walk(value: unknown, shape: Shape, path: (string | number)[], problems: ShapeProblem[]): void {
  const mismatch = (wanted: string): void => {
    problems.push({ path, part: 'value', message: `must be ${wanted}, and is ${nameOf(value)}` });
  };
  if (shape === 'any') return;
  if (shape === 'text') {
    if (typeof value !== 'string') mismatch('text');
  } else if (shape === 'bool') {
    if (typeof value !== 'boolean') mismatch('true or false');
  } else if (shape === 'int') {
    if (!Number.isInteger(value)) mismatch('a whole number');
  } else if ('oneOf' in shape) {
    if (!shape.oneOf.includes(value as string)) mismatch(`one of ${shape.oneOf.join(', ')}`);
  } else if ('list' in shape) {
    if (!Array.isArray(value)) mismatch('a list');
    else for (const [index, item] of value.entries()) walk(item, shape.list, [...path, index], problems);
  } else if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    mismatch('a mapping');
  } else {
    for (const [key, member] of Object.entries(value)) {
      const inner = memberShape(shape, key);
      if (inner === undefined) {
        const unknown = { field: key, known: Object.keys('fields' in shape ? shape.fields : {}) };
        problems.push({ path: [...path, key], part: 'key', unknown, message: `the field "${key}" is not known` });
      } else if (member === null) delete (value as Record<string, unknown>)[key];
      else walk(member, inner, [...path, key], problems);
    }
  }
}

function memberShape(shape: Exclude<Shape, string>, key: string): Shape | undefined {
  if ('map' in shape) return shape.map;
  if ('open' in shape) return Object.hasOwn(shape.open, key) ? shape.open[key] : 'any';
  return 'fields' in shape && Object.hasOwn(shape.fields, key) ? shape.fields[key] : undefined;
}

function nameOf(value: unknown): string {
  if (value === null) return 'empty';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a mapping';
  return typeof value === 'string' ? JSON.stringify(value.slice(0, 60)) : `the ${typeof value} ${value}`;
}
