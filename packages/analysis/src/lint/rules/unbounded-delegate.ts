import type { VirtualService } from '@meshpass/istio';
import { items, texts } from '@meshpass/istio/members';
import { named } from '../../exposure/entries/gateway-tables.ts';
import { coversUri } from '../../routes/text-match.ts';
import { httpRoutes } from '../places.ts';
import type { Report, Rule } from '../rule.ts';

/** A root VirtualService lets another team decide what is public under its hosts. */
export const unboundedDelegate: Rule = {
  code: 'MP108',
  name: 'unbounded-delegate',
  severity: 'warning',
  title: 'A delegate controls more of what is public than it should',
  fix: 'Match a path prefix in the delegation, keep the delegate in the same namespace or export it to the root only, and set no hosts in it.',
  *check(context) {
    const known = named(context.mesh.all('VirtualService'));
    for (const { service: root, route, path } of httpRoutes(context)) {
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

/** Reports what Istio ignores in a delegate. */
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
