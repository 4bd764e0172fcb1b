/** Defines rules about the destinations of routes: delegates, mirrors, and services outside a grant. */

import { type Destination, fullHost, serviceName, type VirtualService } from '@meshpass/istio';
import { items, texts } from '@meshpass/istio/members';
import { keyedByName } from '../../exposure/entries/gateway-tables.ts';
import { mirrorsOf } from '../../routes/http-routes.ts';
import { describeRouteOutside, findRoutesOutsideGrants } from '../../routes/outside-grant.ts';
import { coversUri } from '../../routes/text-match.ts';
import { isTestDestination } from '../exposure/test-names.ts';
import { httpRoutes } from '../parts.ts';
import type { Report, Rule } from '../rule.ts';

/** Reports root VirtualServices that let another team decide what is public under their hosts. */
const unboundedDelegate: Rule = {
  code: 'MP108',
  name: 'unbounded-delegate',
  severity: 'warning',
  title: 'A delegate controls more of what is public than it should',
  fix: 'Match a path prefix in the delegation, keep the delegate in the same namespace or export it to the root only, and set no hosts in it.',
  *check(context) {
    const known = keyedByName(context.mesh.all('VirtualService'));
    for (const { on: root, value: route, path } of httpRoutes(context)) {
      if (!route.delegate) continue;
      const namespace = route.delegate.namespace || root.metadata.namespace;
      const name = `${namespace}/${route.delegate.name}`;
      const delegate = known.get(name);
      const at = { on: root, path: [...path, 'delegate'], part: 'key' as const };
      const bound = texts(root.spec.gateways).filter((one) => one !== 'mesh');
      const free = items(route.match).length === 0 || items(route.match).some(({ uri }) => coversUri(uri, undefined));
      if (namespace !== root.metadata.namespace && free && bound.length > 0) {
        yield {
          ...at,
          message: `anyone who can write VirtualServices in namespace ${namespace} controls every path of ${texts(root.spec.hosts).join(', ')} on Gateway ${bound.join(', ')}: the delegation is not limited to a path.`,
        };
      }
      if (delegate) yield* misuse(delegate, at, name);
      else if (context.complete) {
        const message = `VirtualService ${name} does not exist: anyone who creates it controls what is served here.`;
        yield { ...at, message };
      }
    }
  },
};

/** Reports fields of a delegate that Istio ignores. */
function* misuse(delegate: VirtualService, at: Omit<Report, 'message'>, name: string): Generator<Report> {
  if (texts(delegate.spec.hosts).length > 0) {
    yield {
      on: delegate,
      path: ['spec', 'hosts'],
      part: 'key',
      message: `a delegate must not have hosts: with them it is an independent VirtualService, and ${at.on.metadata.namespace}/${at.on.metadata.name}, which delegates to it, serves nothing there.`,
    };
  } else if (items(delegate.spec.http).some((one) => one.delegate)) {
    yield { ...at, message: `VirtualService ${name} delegates again, which Istio ignores.` };
  }
}

/** Reports routes that copy production calls, including their tokens, to a destination with fewer policies. */
const mirroredToTest: Rule = {
  code: 'MP110',
  name: 'mirrored-to-test',
  severity: 'warning',
  title: 'Calls are mirrored, with their headers, to a test service or out of the mesh',
  fix: 'Remove the credentials from what is mirrored (`headers.request.remove` of the destination), or mirror to a service with the same policies.',
  *check(context) {
    const { clusterDomain } = context.mesh.config;
    for (const { on, value: route, path } of httpRoutes(context)) {
      const full = (host: string | undefined) => fullHost(host ?? '', on.metadata.namespace, clusterDomain);
      const isTest = (to: Destination | undefined) => isTestDestination(context, full(to?.host), to?.subset);
      if (route.route?.some(({ destination }) => isTest(destination))) continue;
      const mirrors = mirrorsOf(route, path).filter(({ destination }) => destination?.host !== undefined);
      for (const { destination, path: at } of mirrors) {
        const to = full(destination?.host);
        const outside = to.includes('.') && serviceName(to, clusterDomain) === undefined;
        if (!outside && !isTest(destination)) continue;
        yield {
          on,
          path: [...at, 'host'],
          message: `every call on this route is copied to ${to}, ${outside ? 'outside the mesh' : 'a test service'}, with its Authorization header and cookies.`,
        };
      }
    }
  },
};

/**
 * Reports routes of granted services that lead to a destination outside the grant. That destination rejects calls from
 * Codespaces, but not calls from Pods.
 */
const routeOutsideGrant: Rule = {
  code: 'MP112',
  name: 'route-outside-grant',
  severity: 'warning',
  title: 'A VirtualService leads from a granted service to one outside the grant',
  fix: 'Also grant the destination, or limit the route with `match.sourceNamespace` or `exportTo`.',
  *check(context) {
    for (const route of findRoutesOutsideGrants(context.mesh, context.grantReaches)) {
      const { on, path } = route;
      yield { on, path, message: `${describeRouteOutside(route)}.` };
    }
  },
};

export const ROUTE_DESTINATION_RULES: readonly Rule[] = [unboundedDelegate, mirroredToTest, routeOutsideGrant];
