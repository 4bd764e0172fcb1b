/**
 * What proxies enforce, for the linter: the formulas of the diff, made of objects in which every member has its type. The linter reads
 * what strangers wrote, and leaves members of a wrong type out; the loader reports them.
 */

import type {
  AuthorizationOperation,
  AuthorizationPolicy,
  AuthorizationSource,
  MeshSettings,
  MeshView,
  Resource,
} from '@meshpass/istio';
import { items, labels, record, text, texts } from '@meshpass/istio/members';
import { indexPolicies, type PolicyIndex } from '../diff/policy-index.ts';

export interface Enforced {
  /** For workloads: Services and Sidecars declare what their ports speak. */
  readonly workloads: PolicyIndex;
  /** For gateways, whose own servers say what is spoken, whatever the Services before them declare. */
  readonly gateways: PolicyIndex;
  readonly trustDomain: string;
}

const KNOWN = new WeakMap<MeshView, Enforced>();

/** Made once for a view. Nobody carries a token here, so RequestAuthentications play no part. */
export function enforcedIn(mesh: MeshView): Enforced {
  let known = KNOWN.get(mesh);
  if (!known) {
    const { config } = mesh;
    const policies = mesh.all('AuthorizationPolicy').map(typed);
    const settings: MeshSettings = {
      ...{ rootNamespace: config.rootNamespace, trustDomain: config.trustDomain },
      // In files without the mesh's configuration, a policy's own domain is taken to be the mesh's: the answer that warns.
      trustDomainAliases: config.isRead ? config.trustDomainAliases : policies.flatMap(domainsNamed),
      ...(config.isRead && { authorizers: config.authorizers }),
    };
    const everywhere: readonly Resource[] = [
      ...policies,
      ...mesh.all('PeerAuthentication'),
      ...mesh.all('Gateway').map((one) => ({ ...one, spec: { selector: labels(one.spec.selector) } })),
    ];
    const declaring: readonly Resource[] = [
      ...mesh.all('Service').map((one) => ({
        ...one,
        spec: {
          selector: labels(one.spec.selector),
          ports: items(one.spec.ports).filter(({ name, appProtocol }) =>
            [name, appProtocol].every((word) => word === undefined || typeof word === 'string'),
          ),
        },
      })),
      ...mesh.all('Sidecar').map((one) => ({
        ...one,
        spec: {
          workloadSelector: { labels: labels(record(one.spec.workloadSelector).labels) },
          ingress: items(one.spec.ingress).map(({ port }) => ({
            port: { ...record(port), protocol: text(record(port).protocol) ?? '' },
          })),
        },
      })),
    ];
    known = {
      workloads: indexPolicies([...everywhere, ...declaring], settings),
      gateways: indexPolicies(everywhere, settings),
      trustDomain: config.trustDomain,
    };
    KNOWN.set(mesh, known);
  }
  return known;
}

function typed(policy: AuthorizationPolicy): AuthorizationPolicy {
  const { spec } = policy;
  const selector = record(spec.selector);
  return {
    ...policy,
    spec: {
      ...spec,
      selector: { matchLabels: labels(selector.matchLabels) },
      provider: { name: text(record(spec.provider).name) ?? '' },
      targetRefs: items(spec.targetRefs),
      // Without the member, an ALLOW lets nothing in; `rules` of a wrong type is refused by the API server.
      rules: items(spec.rules).map(({ from, to, when }) => ({
        from: items(from).map(({ source }) => ({ source: lists(source) as AuthorizationSource })),
        to: items(to).map(({ operation }) => ({ operation: lists(operation) as AuthorizationOperation })),
        when: items(when).map(({ key, values, notValues }) => ({
          ...{ key: text(key) ?? '', values: texts(values), notValues: texts(notValues) },
        })),
      })),
    },
  };
}

function lists(part: unknown): Readonly<Record<string, readonly string[]>> {
  return Object.fromEntries(Object.entries(record(part)).map(([name, values]) => [name, texts(values)]));
}

/** `td.example` of `td.example/ns/shop/sa/web`. */
function domainsNamed({ spec }: AuthorizationPolicy): readonly string[] {
  const principals = (spec.rules ?? []).flatMap(({ from = [], when = [] }) => [
    ...from.flatMap(({ source }) => [...(source?.principals ?? []), ...(source?.notPrincipals ?? [])]),
    ...when.flatMap(({ key, values = [], notValues = [] }) =>
      key === 'source.principal' ? [...values, ...notValues] : [],
    ),
  ]);
  return principals.flatMap((one) => {
    const [domain = '', ...path] = one.split('/');
    return path.length === 4 && !domain.includes('*') && domain !== '' ? [domain] : [];
  });
}
