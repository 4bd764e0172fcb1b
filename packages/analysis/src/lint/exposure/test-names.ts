/**
 * Recognizes test routes, which are meant for a few people and protected only by being hard to find. They are
 * recognized by labels, by the access file, or by their names. A service that is granted to specific people is not
 * meant for the public. Labels take precedence over names.
 */

import { memoize } from '@meshpass/identity';
import { type KubeObject, type MeshView, serviceName } from '@meshpass/istio';
import { labels } from '@meshpass/istio/members';
import type { Exposure } from '../../exposure/exposure.ts';
import type { LintContext } from '../context.ts';
import type { NamedPart, TestWords } from './test-words.ts';

/**
 * The label that marks a route, Service or Namespace as a test route. With the value `"false"`, it states that the
 * object is not a test route.
 */
const TEST_ROUTE_LABEL = 'meshpass.dev/test-route';

/** A name that may indicate a test, and how messages describe it. */
interface Name {
  readonly part: NamedPart;
  readonly name: string | undefined;
  readonly why: string;
}

/** An object whose labels indicate the purpose of a route. */
interface Labelled {
  readonly described: string;
  readonly labels: Readonly<Record<string, string>>;
}

/**
 * Explains why a route is considered a test route. Returns undefined if it is not one. If the files define the Service
 * or the Namespace more than once, any of the definitions can indicate a test, because none takes precedence.
 */
export function whyTestRoute(context: LintContext, exposure: Exposure): string | undefined {
  const { on, destination, service } = exposure;
  const known = serviceName(destination.host, context.mesh.config.clusterDomain);
  const namespace = known?.namespace ?? on.metadata.namespace;
  const namespaces = definitionsOf(context.mesh, namespace).map((one) => ({
    described: `namespace ${namespace}`,
    labels: labels(one?.metadata.labels),
  }));
  return definitionsOf(context.mesh, service && keyOf(service))
    .flatMap((one) => namespaces.map((ofNamespace) => ({ ofService: labelsOf(one), ofNamespace })))
    .map(({ ofService, ofNamespace }) => whyOf(context, exposure, ofService, ofNamespace))
    .find((why) => why !== undefined);
}

function whyOf(
  context: LintContext,
  exposure: Exposure,
  ofService: Labelled | undefined,
  ofNamespace: Labelled,
): string | undefined {
  const { root, on, destination } = exposure;
  const known = serviceName(destination.host, context.mesh.config.clusterDomain);
  const namespace = known?.namespace ?? on.metadata.namespace;
  const nearest = (objects: readonly (Labelled | undefined)[]) =>
    objects.find((one) => one && /^(?:true|false)$/.test(one.labels[TEST_ROUTE_LABEL] ?? ''));
  const isMarked = (one: Labelled | undefined) => one?.labels[TEST_ROUTE_LABEL] === 'true';
  // The nearest label takes precedence, with one exception: if the destination's owner marked it as a test, a label on
  // the route cannot override that.
  const atDestination = nearest([ofService, ofNamespace]);
  const marked = isMarked(atDestination) ? atDestination : (nearest([labelsOf(on), labelsOf(root)]) ?? atDestination);
  if (marked) return isMarked(marked) ? `${marked.described} has the label ${TEST_ROUTE_LABEL}` : undefined;
  const grants = context.granted.get(destination.host);
  if (grants) return `${destination.host} is granted only to named people (grant ${grants.join(', ')})`;
  const environments = [ofService, ofNamespace].map((one) => one && context.testWords.environmentOf(one.labels));
  const environment = environments.find((one) => one !== undefined);
  if (environment?.test) {
    const described = environment === environments[0] ? ofService?.described : ofNamespace.described;
    return `${described} has the label ${environment.label}`;
  }
  // A production label takes precedence over the name of the labelled object, over the names of the Services in it, and
  // over the addresses that lead to it.
  const outranked: readonly NamedPart[] = environment ? ['namespace', 'service', 'route', 'host', 'path'] : [];
  const names = namesOf(exposure, namespace, known?.name).filter(({ part }) => !outranked.includes(part));
  return whyByName(context.testWords, names);
}

/** Returns the definitions of a Service (`shop/orders`) or Namespace (`shop`), or one undefined element if it has none. */
function definitionsOf(mesh: MeshView, key: string | undefined): readonly (KubeObject | undefined)[] {
  return definitionsIn(mesh).get(key) ?? [undefined];
}

const definitionsIn = memoize((mesh: MeshView) =>
  Map.groupBy<string | undefined, KubeObject>([...mesh.all('Service'), ...mesh.all('Namespace')], keyOf),
);

function keyOf({ kind, metadata }: KubeObject): string {
  return kind === 'Namespace' ? metadata.name : `${metadata.namespace}/${metadata.name}`;
}

function labelsOf(object: KubeObject | undefined): Labelled | undefined {
  return object && { described: `${object.kind} ${object.metadata.name}`, labels: labels(object.metadata.labels) };
}

function namesOf(
  { root, destination, matches, hosts, route, external }: Exposure,
  namespace: string,
  service: string | undefined,
): readonly Name[] {
  const kind = root.kind === 'KubernetesGateway' ? 'Gateway' : root.kind;
  return [
    { part: 'namespace', name: namespace, why: `its namespace is called ${namespace}` },
    service === undefined && external
      ? { part: 'service', name: nameIn(destination.host), why: `its destination is ${destination.host}` }
      : { part: 'service', name: service, why: `its service is called ${service}` },
    { part: 'subset', name: destination.subset, why: `its subset is called ${destination.subset}` },
    { part: 'route', name: root.metadata.name, why: `its ${kind} is called ${root.metadata.name}` },
    { part: 'route', name: route?.name, why: `the route is called ${route?.name}` },
    ...hosts.map(
      (host): Name => ({
        part: 'host',
        name: nameIn(host),
        why: `its host is ${host}`,
      }),
    ),
    ...matches.map(({ uri }): Name => {
      const path = uri?.exact ?? uri?.prefix ?? uri?.regex;
      return { part: 'path', name: path, why: `its path is ${path}` };
    }),
  ];
}

/** Returns a host without its last two labels, because these (for example `web.dev`) identify the site itself. */
function nameIn(host: string): string {
  return host.replace(/^\*\./, '').split('.').slice(0, -2).join('.');
}

/** Explains which names indicate a test. Either a single clear name or two ambiguous ones are required. */
function whyByName({ weigh }: TestWords, names: readonly Name[]): string | undefined {
  const weighed = names.map((one) => ({ ...one, weight: weigh(one.name, one.part) }));
  const clear = weighed.find(({ weight }) => weight === 'clear');
  if (clear) return clear.why;
  const doubtful = weighed.filter(({ weight }) => weight === 'ambiguous');
  const nameOf = (part: NamedPart) => names.find((one) => one.part === part)?.name ?? '';
  const service = nameOf('service');
  // An ambiguous subset name is enough to indicate a test. So is an ambiguous namespace name, unless the service has
  // the same name. In that case, it is probably the name of a product.
  const place = doubtful.find(({ part, name }) => part === 'subset' || (part === 'namespace' && name !== service));
  if (place) return place.why;
  const ofService = doubtful.find(({ part }) => part === 'service');
  // A service called `previews` at the path `/previews` counts as one indication rather than two, because it is
  // probably the name of a product.
  const address = doubtful.find(
    ({ part, name }) => ['route', 'host', 'path'].includes(part) && !isSameName(name!.toLowerCase(), service),
  );
  return ofService && address && `${ofService.why}, and ${address.why}`;
}

/**
 * Checks whether an address has the same name as a service or starts with its first words, like `/tests` for
 * `test-results`.
 */
function isSameName(address: string, service: string): boolean {
  const words = address.replaceAll(/[^a-z0-9]+/g, '-').replaceAll(/^-|s?-?$/g, '');
  return address.includes(service) || service.startsWith(words);
}

/** Checks whether the names or labels of a destination are enough to indicate a test. */
export function isTestDestination({ mesh, testWords }: LintContext, host: string, subset?: string): boolean {
  const known = serviceName(host, mesh.config.clusterDomain);
  return definitionsOf(mesh, known?.namespace).some((one) => {
    const given = labels(one?.metadata.labels);
    const marked = given[TEST_ROUTE_LABEL];
    if (marked === 'true' || marked === 'false') return marked === 'true';
    const environment = testWords.environmentOf(given);
    if (environment?.test) return true;
    return (
      testWords.weigh(known?.name, 'service') !== undefined ||
      testWords.weigh(subset, 'subset') !== undefined ||
      (!environment && testWords.weigh(known?.namespace, 'namespace') !== undefined)
    );
  });
}
