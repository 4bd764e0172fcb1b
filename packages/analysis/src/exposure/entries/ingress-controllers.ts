/**
 * Interprets the annotations of Ingress controllers other than Istio. Annotations are recognized by their full names,
 * and only for the controller that reads them. Sources: the annotations of ingress-nginx, NGINX Ingress Controller, the
 * AWS Load Balancer Controller, Kong, Traefik, HAProxy, AKS and APISIX.
 */

import { memoize } from '@meshpass/identity';
import { type Ingress, type IngressClass, type Labels, type MeshView, type Service, selects } from '@meshpass/istio';
import { labels } from '@meshpass/istio/members';
import type { Identity } from '../exposure.ts';
import { isNarrow, whyAllInternal } from '../internal.ts';

interface Family {
  /** Matches the class names that the controller usually has. Only used if the IngressClass is not in the files. */
  readonly classes: RegExp;
  /** Matches the `spec.controller` values of the IngressClasses that the controller serves. */
  readonly controller: RegExp;
  readonly prefixes: readonly string[];
  /** Whether an Ingress's annotations define all of the checks that apply to it. */
  readonly isReadable?: true;
  /** The value of the `app.kubernetes.io/name` label on the controller's Pods. */
  readonly pods?: string;
}

const NGINX = 'nginx.ingress.kubernetes.io/';
const ALB = 'alb.ingress.kubernetes.io/';

const INGRESS_NGINX: Family = {
  classes: /nginx/,
  controller: /^k8s\.io\/.*nginx/,
  prefixes: [NGINX],
  isReadable: true,
  pods: 'ingress-nginx',
};
const AWS: Family = {
  classes: /(?:^|-)alb(?:-|$)/,
  controller: /^(?:ingress\.k8s\.aws|eks\.amazonaws\.com)\/alb$/,
  prefixes: [ALB],
};
const AZURE: Family = {
  classes: /^azure[-/]application-gateway$/,
  controller: /^azure\/application-gateway$/,
  prefixes: ['appgw.ingress.kubernetes.io/'],
};
const GOOGLE: Family = { classes: /^gce(?:-|$)/, controller: /gce|networking\.gke\.io/, prefixes: [] };

/**
 * The controllers that Meshpass knows about. If a class name could belong to more than one, the most common one comes
 * first.
 */
const FAMILIES: readonly Family[] = [
  ...[INGRESS_NGINX, AWS, AZURE, GOOGLE],
  {
    classes: /nginx/,
    controller: /^nginx\.org\//,
    prefixes: ['nginx.org/', 'nginx.com/'],
    isReadable: true,
    pods: 'nginx-ingress',
  },
  { classes: /kong/, controller: /konghq\.com\//, prefixes: ['konghq.com/'], pods: 'kong' },
  { classes: /traefik/, controller: /^traefik\.io\//, prefixes: ['traefik.ingress.kubernetes.io/'], pods: 'traefik' },
  { classes: /haproxy/, controller: /^haproxy\.org\//, prefixes: ['haproxy.org/'], pods: 'kubernetes-ingress' },
  {
    classes: /haproxy/,
    controller: /^haproxy-ingress\.github\.io\//,
    prefixes: ['haproxy-ingress.github.io/', 'ingress.kubernetes.io/'],
    pods: 'haproxy-ingress',
  },
  { classes: /apisix/, controller: /^apisix\.apache\.org\//, prefixes: ['k8s.apisix.apache.org/'], pods: 'apisix' },
];

const DEFAULT_CLASS = 'ingressclass.kubernetes.io/is-default-class';

/** Returns the class name of an Ingress, and the IngressClass object if the files contain it. */
export function ingressClassOf(
  mesh: MeshView,
  { metadata, spec }: Ingress,
): { readonly name: string | undefined; readonly object: IngressClass | undefined } {
  const classes = mesh.all('IngressClass');
  const byDefault = classes.find((one) => labels(one.metadata.annotations)[DEFAULT_CLASS] === 'true');
  const name =
    spec.ingressClassName ?? labels(metadata.annotations)['kubernetes.io/ingress.class'] ?? byDefault?.metadata.name;
  return { name, object: classes.find((one) => one.metadata.name === name) };
}

interface Reader {
  /** The controller that serves the class. */
  readonly family: Family | undefined;
  /** The other controllers that could also serve the class. */
  readonly others: readonly Family[];
}

function readerOf(mesh: MeshView, ingress: Ingress): Reader {
  const { name = '', object } = ingressClassOf(mesh, ingress);
  const { controller } = object?.spec ?? {};
  const found = FAMILIES.filter((one) =>
    controller === undefined ? one.classes.test(name) : one.controller.test(controller),
  );
  return found.length === 0
    ? { family: undefined, others: FAMILIES }
    : { family: found[0], others: controller === undefined ? found.slice(1) : [] };
}

/**
 * Returns the annotations that ingress-nginx reads, without their prefix. Returns undefined if another controller serves
 * the Ingress.
 */
export function nginxAnnotations(mesh: MeshView, ingress: Ingress): Labels | undefined {
  const { family } = readerOf(mesh, ingress);
  if (family !== INGRESS_NGINX) return undefined;
  const given = Object.entries(readBy(family, ingress));
  return Object.fromEntries(given.map(([name, value]) => [name.slice(NGINX.length), value]));
}

function readBy(family: Family | undefined, { metadata }: Ingress): Labels {
  const isRead = (name: string) => family?.prefixes.some((prefix) => name.startsWith(prefix)) === true;
  return Object.fromEntries(
    Object.entries(labels(metadata.annotations)).flatMap(([name, value]) =>
      isRead(name) ? [[name, value.trim()] as const] : [],
    ),
  );
}

/**
 * The annotations that authenticate callers. Each function checks whether the annotation's value enables
 * authentication.
 */
const AUTHENTICATES: Readonly<Record<string, (value: string, given: Labels) => boolean>> = {
  [`${NGINX}auth-url`]: (_, given) => !anyAddressSatisfies(given),
  // The ingress-nginx controller ignores `auth-secret` if there is no `auth-type`.
  [`${NGINX}auth-type`]: (value, given) => /basic|digest/.test(value) && !anyAddressSatisfies(given),
  [`${NGINX}auth-tls-secret`]: (_, given) => verifies(given[`${NGINX}auth-tls-verify-client`]),
  'nginx.org/basic-auth-secret': () => true,
  'nginx.com/jwt-key': () => true,
  [`${ALB}auth-type`]: (value, given) =>
    /^(?:oidc|cognito)$/.test(value) && given[`${ALB}auth-on-unauthenticated-request`] !== 'allow',
  [`${ALB}mutual-authentication`]: (value) => /verify/.test(value) && !/off|passthrough/.test(value),
  'haproxy.org/auth-type': (value) => value === 'basic-auth',
  ...Object.fromEntries(
    ['haproxy-ingress.github.io/', 'ingress.kubernetes.io/'].flatMap((prefix) => [
      ...['auth-url', 'auth-secret', 'oauth'].map((name) => [`${prefix}${name}`, () => true] as const),
      [
        `${prefix}auth-tls-secret`,
        (_: string, given: Labels) => verifies(given[`${prefix}auth-tls-verify-client`]),
      ] as const,
    ]),
  ),
  'k8s.apisix.apache.org/auth-type': () => true,
};

function verifies(client: string | undefined): boolean {
  return !/^(?:off|optional)/.test(client ?? '');
}

/** The annotations that restrict access to a list of client addresses. */
const LISTS: readonly string[] = [
  ...[`${NGINX}whitelist-source-range`, `${NGINX}allowlist-source-range`, `${ALB}inbound-cidrs`],
  ...['haproxy.org/whitelist', 'haproxy.org/allow-list', 'k8s.apisix.apache.org/allowlist-source-range'],
  ...['haproxy-ingress.github.io/allowlist-source-range', 'haproxy-ingress.github.io/whitelist-source-range'],
  ...['ingress.kubernetes.io/allowlist-source-range', 'ingress.kubernetes.io/whitelist-source-range'],
];

/**
 * Checks whether `satisfy: any` lets calls from every address skip the other checks. Client certificates are still
 * checked.
 */
function anyAddressSatisfies(given: Labels): boolean {
  const ranges = [given[`${NGINX}whitelist-source-range`], given[`${NGINX}allowlist-source-range`]];
  return given[`${NGINX}satisfy`] === 'any' && ranges.some((one) => one !== undefined && one !== '' && !areNarrow(one));
}

function areNarrow(ranges: string): boolean {
  return ranges.split(',').every(isNarrow);
}

const SNIPPETS: readonly string[] = [
  ...[`${NGINX}configuration-snippet`, `${NGINX}server-snippet`],
  ...['nginx.org/location-snippets', 'nginx.org/server-snippets'],
];

/** The annotations that may authenticate callers by way of other objects or the controller's configuration. */
const MAY_AUTHENTICATE: Readonly<Record<string, (value: string) => boolean>> = {
  ...Object.fromEntries(SNIPPETS.map((name) => [name, mayRefuse])),
  'nginx.org/policies': () => true,
  'konghq.com/plugins': () => true,
  'traefik.ingress.kubernetes.io/router.middlewares': () => true,
  'k8s.apisix.apache.org/plugin-config-name': () => true,
};

/** Matches the nginx directives that reject calls or authenticate callers. */
const REFUSES = /^(?:auth_(?:request|jwt)\b|auth_basic\s+(?!off)|deny\s+all|access_by_lua|return\s+40[13]\b)/;

/** Checks whether the directives could reject every call, or answer it without forwarding it. */
function mayRefuse(snippet: string): boolean {
  return directivesIn(snippet).some(({ text, inner }) => !inner && (REFUSES.test(text) || /^return\b/.test(text)));
}

/** Checks whether conditional directives could reject some calls. */
function mayRefuseSome(snippet: string): boolean {
  return directivesIn(snippet).some(({ text, inner }) => inner && REFUSES.test(text));
}

/**
 * Lists the directives outside `location` blocks. Those inside are left out because they only apply to the paths of
 * their location.
 */
function directivesIn(snippet: string): readonly { readonly text: string; readonly inner: boolean }[] {
  const found: { readonly text: string; readonly inner: boolean }[] = [];
  let depth = 0;
  let location = 0;
  for (const part of snippet.replace(/#.*$/gm, '').split(/(?<=[{};])/)) {
    const text = part.trim();
    if (location === 0) found.push({ text, inner: depth > 0 });
    if (text.endsWith('{')) depth++;
    if (text.endsWith('{') && location === 0 && /^location\b/.test(text)) location = depth;
    if (!text.endsWith('}')) continue;
    if (location === depth) location = 0;
    depth = Math.max(0, depth - 1);
  }
  return found;
}

/** Determines which identity the annotations of an Ingress require. */
export function identityFromAnnotations(mesh: MeshView, ingress: Ingress, name: string): Identity {
  const { family, others } = readerOf(mesh, ingress);
  const found = checkIn(readBy(family, ingress));
  if (found) return found;
  if (/(?:^|[- ])(?:internal|private)$/.test(name)) {
    return { state: 'unknown', reason: `${name} may be for a private network only, by its name` };
  }
  const other = others.map((one) => checkIn(readBy(one, ingress))).find((one) => one !== undefined);
  if (other) return { state: 'unknown', reason: `${other.reason} counts only if the controller of ${name} reads it` };
  if (family === AWS && awsScheme(mesh, ingress) === undefined) {
    return { state: 'unknown', reason: `the parameters of ${name} may make its load balancer internal` };
  }
  return family?.isReadable
    ? { state: 'none', reason: 'no annotation of the Ingress requires one' }
    : { state: 'unknown', reason: `no annotation requires one, and the other checks of ${name} are not known` };
}

function checkIn(given: Labels): Identity | undefined {
  const find = (all: Readonly<Record<string, (value: string, given: Labels) => boolean>>) =>
    Object.entries(given).find(
      ([name, value]) => value !== '' && Object.hasOwn(all, name) && all[name]!(value, given),
    )?.[0];
  const authenticates = find(AUTHENTICATES);
  if (authenticates) return { state: 'required', reason: `annotation ${authenticates}` };
  const lists = LISTS.find((name) => given[name] !== undefined && given[name] !== '' && areNarrow(given[name]));
  if (lists) return { state: 'required', reason: `annotation ${lists} lists the permitted addresses` };
  const may = find(MAY_AUTHENTICATE);
  // The reason includes the value, so that a comparison treats different values as different checks.
  const shown = may === undefined || SNIPPETS.includes(may) ? '' : ` (${given[may]})`;
  if (may) return { state: 'assumed', reason: `annotation ${may}${shown} may require one` };
  const some = SNIPPETS.find((name) => mayRefuseSome(given[name] ?? ''));
  return some === undefined ? undefined : { state: 'unknown', reason: `annotation ${some} refuses some calls` };
}

/**
 * Explains why only a private network can reach the controller of an Ingress. Returns undefined if other networks may
 * reach it.
 */
export function whyInternalIngress(mesh: MeshView, ingress: Ingress): string | undefined {
  const { family } = readerOf(mesh, ingress);
  const given = readBy(family, ingress);
  if (family === AWS && awsScheme(mesh, ingress) === 'internal') {
    return 'its load balancer has the scheme internal';
  }
  if (family === GOOGLE && ingressClassOf(mesh, ingress).name === 'gce-internal')
    return 'its load balancer is internal by its class';
  if (given['appgw.ingress.kubernetes.io/use-private-ip'] === 'true') return 'it uses a private address';
  return family && whyInternalController(mesh)(family);
}

/**
 * Returns the scheme of an AWS load balancer. The parameters of its class take precedence over annotations, so the
 * scheme is undefined if those parameters are not in the files.
 */
function awsScheme(mesh: MeshView, ingress: Ingress): string | undefined {
  const { kind, name } = ingressClassOf(mesh, ingress).object?.spec.parameters ?? {};
  const isByParameters = kind === 'IngressClassParams';
  const found = mesh.all('IngressClassParams').find(({ metadata }) => isByParameters && metadata.name === name);
  if (isByParameters && !found) return undefined;
  return found?.spec.scheme ?? readBy(AWS, ingress)[`${ALB}scheme`] ?? 'internal';
}

/**
 * Explains why all Services of a controller are internal. Because anyone can give a Service the controller's labels,
 * only Services in namespaces that are named after a controller are considered. Such namespaces are created by the
 * cluster owner.
 */
const whyInternalController = memoize((mesh: MeshView) =>
  memoize(({ pods, classes }: Family): string | undefined => {
    if (pods === undefined) return undefined;
    const own = mesh.all('Service').filter((service) => {
      const { namespace } = service.metadata;
      const isOfOwner = namespace === 'kube-system' || /ingress/.test(namespace) || classes.test(namespace);
      return isOfOwner && isOf(service, pods);
    });
    const why = whyAllInternal(mesh, own, named(pods));
    return why && `of its controller, ${why}`;
  }),
);

function isOf({ spec, metadata }: Service, pods: string): boolean {
  return selects(named(pods), labels(spec.selector)) || selects(named(pods), labels(metadata.labels));
}

function named(pods: string): Labels {
  return { 'app.kubernetes.io/name': pods };
}
