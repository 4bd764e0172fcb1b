import { type Destination, fullHost, serviceName } from '@meshpass/istio';
import { mirrorsOf } from '../../routes/http-routes.ts';
import { isTestDestination } from '../exposure/test-route.ts';
import { httpRoutes } from '../parts.ts';
import type { Rule } from '../rule.ts';

/** Production calls, including their tokens, are copied to a place with fewer policies. */
export const mirroredToTest: Rule = {
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
