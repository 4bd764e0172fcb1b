/**
 * Creates the routers for Ingresses. All Ingresses of a class form a single routing table, where exact paths take
 * precedence over prefixes and longer prefixes over shorter ones. Hosts in `tls` are served on port 443. The controller
 * decides how it handles their calls on port 80. Sources: the Ingress API reference, the annotations of ingress-nginx,
 * and Istio's pilot/pkg/config/kube/ingress.
 */
import { coversHost, type Ingress, type MeshView } from '@meshpass/istio';
import { items, labels, texts } from '@meshpass/istio/members';
import { ALWAYS, all, any, type Condition, NEVER, opaque } from '../diff/formula/condition.ts';
import { type Backend, listServedIngresses, type ServedIngress } from '../exposure/entries/ingresses.ts';
import type { EntryPoint } from '../exposure/exposure.ts';
import { type Listener, matchCondition } from '../routes/match-condition.ts';
import { segmentPrefix } from '../routes/text-match.ts';
import { type RankedStep, type Router, type Step, virtualHostsOf } from './router.ts';
import { targetsAt } from './target.ts';

const LISTENERS = [
  { protocol: 'http', port: 80 },
  { protocol: 'https', port: 443 },
] as const;

/** Lists the routers for all Ingresses. */
export function ingressRouters(mesh: MeshView): readonly Router[] {
  const ingresses = listServedIngresses(mesh);
  const byClass = Map.groupBy(ingresses, ({ entry }) => `${nameOf(entry)} ${entry.internal !== undefined}`);
  const routers = [...byClass.values()].flatMap((some) =>
    LISTENERS.map((listener): Router => {
      const ownerOf = (host: string) => some.find(({ ingress }) => hostsOf(ingress).includes(host))?.ingress;
      const hosts = some.flatMap((one) => pathsOf(mesh, one, listener, ownerOf));
      return { listener, entry: some[0]!.entry, virtualHosts: virtualHostsOf(hosts) };
    }),
  );
  const widened = ingresses.flatMap((one): readonly Router[] => {
    const { ingress, entry, backends, redirects } = one;
    const condition = annotatedRouting(one);
    if (condition === ALWAYS || redirects) return [];
    const targets = backends.flatMap(({ exposure }) => (exposure ? targetsAt(mesh, exposure, entry) : []));
    const steps = [{ on: ingress, path: ['metadata'], condition, targets }];
    return [{ listener: LISTENERS[0], entry, virtualHosts: [{ host: '*', on: ingress, steps }], anywhere: true }];
  });
  return [...routers, ...widened];
}

function hostsOf({ spec }: Ingress): readonly string[] {
  return items(spec.rules).map(({ host }) => host || '*');
}

/**
 * Ranks the path of an Ingress. Canaries of ingress-nginx, which receive some of another Ingress's calls, rank highest.
 * They are followed by exact paths, and then by other paths, longest first. istiod compares the length of the text
 * first, including a trailing slash.
 */
function rankOf({ rule, uris }: Backend, { entry: { proxy }, nginx }: ServedIngress): RankedStep['rank'] {
  const { path = '/', pathType } = rule;
  if (proxy.by === 'istio') return [path.replace(/[./]?\*$/, '').length, Number(uris[0]?.exact === path)];
  return [Number(nginx?.canary === 'true'), Number(pathType === 'Exact'), path.replace(/(?<=.)\/+$/, '').length];
}

/** Lists the paths of an Ingress by their host. */
function pathsOf(
  mesh: MeshView,
  served: ServedIngress,
  listener: Listener,
  ownerOf: (host: string) => Ingress | undefined,
): Parameters<typeof virtualHostsOf>[0] {
  const { ingress, entry, backends } = served;
  const routing = annotatedRouting(served);
  const hosts = [...new Set(hostsOf(ingress))];
  const found = hosts.map((host) => {
    // istiod only adds the routes of a host to the servers that the host's oldest Ingress defines.
    const owner = (entry.proxy.by === 'istio' && ownerOf(host)) || ingress;
    const service = servedAt({ ...served, ingress: owner }, host, listener);
    const ranked = backends
      .filter((one) => one.host === host && !one.isDefault)
      .map((one): RankedStep => {
        const condition = all([routing, hostLabel(host, entry), pathCondition(one, served, listener)]);
        return { step: stepOf(mesh, served, one, service, condition), rank: rankOf(one, served) };
      });
    return { host, on: ingress, ranked };
  });
  const fallback = backends.find((one) => one.isDefault);
  if (!fallback) return found;
  const service = servedAt(served, '*', listener);
  const fallbackTo = (condition: Condition): RankedStep => ({
    step: stepOf(mesh, served, fallback, service, condition),
    rank: [-1],
  });
  // The controller decides whether the default backend also serves hosts for which there is no rule.
  const others =
    hosts.length === 0
      ? ALWAYS
      : opaque(`${nameOf(entry)} decides which hosts reach the default backend of an Ingress with rules`);
  return [
    ...found.map((one) => ({ ...one, ranked: [...one.ranked, fallbackTo(ALWAYS)] })),
    ...(hosts.includes('*') ? [] : [{ host: '*', on: ingress, ranked: [fallbackTo(others)] }]),
  ];
}

/** Matches annotations that change which calls an Ingress receives. Their effect is not modelled. */
const ROUTING =
  /\/(?:canary.*|listen-ports(?:-ssl)?|redirect-to-https|path-regex|server-alias|(?:server|configuration|location)-snippets?|app-root|from-to-www-redirect|ssl-passthrough|router\..+|actions\..+|conditions\..+)$/;

function annotatedRouting({ ingress: { metadata }, entry }: ServedIngress): Condition {
  if (entry.proxy.by === 'istio') return ALWAYS;
  const given = Object.entries(labels(metadata.annotations)).filter(([name]) => ROUTING.test(name));
  if (given.length === 0) return ALWAYS;
  const shown = given.map(([name, value]) => `${name}: ${value}`).join(', ');
  return opaque(`annotations of Ingress ${metadata.namespace}/${metadata.name} change which calls it gets (${shown})`);
}

function nameOf({ proxy }: EntryPoint): string {
  return proxy.by === 'controller' ? proxy.name : "Istio's class";
}

interface Served {
  readonly condition: Condition;
  readonly answer?: string;
}

/** Determines which calls to a host a listener serves, and whether it redirects them. */
function servedAt({ ingress, entry, nginx }: ServedIngress, host: string, { protocol }: Listener): Served {
  const byIstio = entry.proxy.by === 'istio';
  const secure = items(ingress.spec.tls).some(({ hosts, secretName }) => {
    const named = texts(hosts);
    if (byIstio && !secretName) return false;
    if (named.length === 0) return true;
    return byIstio ? named.some((one) => coversHost(one, host)) : named.includes(host);
  });
  const forced = nginx?.['force-ssl-redirect'] === 'true';
  if (protocol === 'https') return { condition: secure || forced ? ALWAYS : NEVER };
  if (forced) return { condition: ALWAYS, answer: TO_HTTPS };
  if (!secure || byIstio) return { condition: ALWAYS };
  if (!nginx) return { condition: opaque(`${nameOf(entry)} decides whether it redirects HTTP of a host with TLS`) };
  return { condition: ALWAYS, ...(nginx['ssl-redirect'] !== 'false' && { answer: TO_HTTPS }) };
}

const TO_HTTPS = 'redirects it to HTTPS';

/**
 * Limits the wildcard in an Ingress host to a single label. In Istio's class, a wildcard can match more than one label.
 */
function hostLabel(host: string, { proxy }: EntryPoint): Condition {
  if (!host.startsWith('*.') || proxy.by === 'istio') return ALWAYS;
  const pieces = [
    { class: '[^.]', many: false },
    { class: '[^.]', many: true },
    { text: host.slice(1).toLowerCase() },
  ] as const;
  return { op: 'text', field: 'host', test: { form: 'pattern', pieces } };
}

function pathCondition({ rule, uris }: Backend, { entry, nginx }: ServedIngress, listener: Listener): Condition {
  const { path = '/', pathType } = rule;
  const name = ['use-regex', 'rewrite-target'].find((one) => (nginx?.[one] ?? 'false') !== 'false');
  if (name !== undefined && (path !== '/' || name === 'use-regex'))
    return opaque(`annotation ${name} makes path ${path} a regular expression`);
  const isSpecific = entry.proxy.by !== 'istio' && pathType !== 'Exact' && pathType !== 'Prefix' && path !== '/';
  const meant = isSpecific && nginx ? segmentPrefix(path) : uris;
  const found = meant.length === 0 ? ALWAYS : any(meant.map((uri) => matchCondition({ uri }, listener)));
  return isSpecific && !nginx
    ? all([found, opaque(`${nameOf(entry)} decides what ImplementationSpecific path ${path} matches`)])
    : found;
}

function stepOf(
  mesh: MeshView,
  { ingress, entry, redirects }: ServedIngress,
  { path, exposure }: Backend,
  service: Served,
  given: Condition,
): Step {
  const condition = all([service.condition, given]);
  const step = { on: ingress, path, condition, targets: [] };
  const answer = redirects ? 'redirects it' : service.answer;
  if (answer !== undefined) return { ...step, answer };
  if (exposure) return { ...step, targets: targetsAt(mesh, exposure, entry) };
  return {
    ...step,
    condition: all([condition, opaque('an annotation or resource answers the call')]),
    answer: 'answers it by an annotation or a resource',
  };
}
