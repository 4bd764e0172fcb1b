import type { Path } from '@meshpass/istio';
import { items, texts } from '@meshpass/istio/members';
import type { Report, Rule } from '../rule.ts';
import { coversUri } from '../text-match.ts';

/** A root VirtualService that lets somebody else decide what is public under its hosts. */
export const unboundedDelegate: Rule = {
  code: 'MP108',
  name: 'unbounded-delegate',
  severity: 'warning',
  title: 'A delegate controls more of what is public than it should',
  fix: 'Match a path prefix in the delegation, keep the delegate in the same namespace or export it to the root only, and set no hosts in it.',
  *check(context) {
    const known = new Map(
      context.mesh.all('VirtualService').map((one) => [`${one.metadata.namespace}/${one.metadata.name}`, one]),
    );
    for (const root of context.mesh.all('VirtualService')) {
      const bound = texts(root.spec.gateways).filter((one) => one !== 'mesh');
      for (const [index, route] of items(root.spec.http).entries()) {
        if (!route.delegate) continue;
        const path: Path = ['spec', 'http', index, 'delegate'];
        const namespace = route.delegate.namespace || root.metadata.namespace;
        const name = `${namespace}/${route.delegate.name}`;
        const delegate = known.get(name);
        const say = (message: string): Report => ({ on: root, path, part: 'key', message });
        const free = items(route.match).length === 0 || items(route.match).some(({ uri }) => coversUri(uri, undefined));
        if (namespace !== root.metadata.namespace && free && bound.length > 0) {
          yield say(
            `whoever may write VirtualServices in namespace ${namespace} controls every path of ${texts(root.spec.hosts).join(', ')} on Gateway ${bound.join(', ')}: the delegation is not limited to a path.`,
          );
        }
        if (!delegate) {
          if (context.complete)
            yield say(`VirtualService ${name} does not exist: anyone who creates it controls what is served here.`);
          continue;
        }
        if (texts(delegate.spec.hosts).length > 0) {
          yield {
            on: delegate,
            path: ['spec', 'hosts'],
            part: 'key',
            message: `a delegate must not have hosts: with them it is an independent VirtualService, and ${root.metadata.namespace}/${root.metadata.name}, which delegates to it, serves nothing there.`,
          };
        } else if (items(delegate.spec.http).some((one) => one.delegate)) {
          yield say(`VirtualService ${name} delegates further, which Istio ignores.`);
        }
      }
    }
  },
};
