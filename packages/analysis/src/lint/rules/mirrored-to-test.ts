import { type Destination, fullHost, type Path, serviceName } from '@meshpass/istio';
import { items, text } from '@meshpass/istio/members';
import { isTestDestination } from '../exposure/test-route.ts';
import type { Rule } from '../rule.ts';

/** Calls of production, their tokens included, copied to where fewer rules hold. */
export const mirroredToTest: Rule = {
  code: 'MP110',
  name: 'mirrored-to-test',
  severity: 'warning',
  title: 'Calls are mirrored, with their headers, to a test service or out of the mesh',
  fix: 'Remove the credentials from what is mirrored (`headers.request.remove` of the destination), or mirror to a service with the same policies.',
  *check(context) {
    for (const service of context.mesh.all('VirtualService')) {
      for (const [index, route] of items(service.spec.http).entries()) {
        const at: Path = ['spec', 'http', index];
        const mirrors: [Destination | undefined, Path][] = [
          [route.mirror, [...at, 'mirror']],
          ...items(route.mirrors).map((one, nth): [Destination | undefined, Path] => [
            one.destination,
            [...at, 'mirrors', nth, 'destination'],
          ]),
        ];
        const own = items(route.route).some((one) =>
          isTestDestination(context, full(one.destination?.host), one.destination?.subset),
        );
        for (const [mirror, path] of mirrors) {
          const host = text(mirror?.host);
          if (host === undefined || own) continue;
          const to = full(host);
          const outside = to.includes('.') && serviceName(to, context.mesh.config.clusterDomain) === undefined;
          if (!outside && !isTestDestination(context, to, mirror?.subset)) continue;
          yield {
            on: service,
            path: [...path, 'host'],
            message: `every call of this route is copied to ${to}, ${outside ? 'outside the mesh' : 'a test service'}, with its Authorization header and cookies.`,
          };
        }

        function full(host: string | undefined): string {
          return fullHost(host ?? '', service.metadata.namespace, context.mesh.config.clusterDomain);
        }
      }
    }
  },
};
