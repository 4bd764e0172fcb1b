/**
 * Per granted HTTP port: what the workload's sidecar refuses of the grant's identities. Every rule is bound to the
 * grant's namespace and to the SNIs of this very port, in whatever subset, so that neither other callers nor other ports feel it. On a TCP
 * port of the same workload a DENY rule loses its HTTP fields and would deny all that is left: the connections of these
 * SNIs, of which there are none.
 */
import type { ClaimValues, IdentityTokens, Manifest, Operation } from '../model.ts';
import { metadata } from './metadata.ts';
import type { ResolvedGrant, ResolvedTarget } from './resolve.ts';
import { connectionsTo } from './server-names.ts';

export function httpRules(granted: ResolvedGrant, resolved: ResolvedTarget, tokens: IdentityTokens): Manifest {
  const { grant, namespace } = granted;
  const { target, service, port, host } = resolved;
  const onThisPort = connectionsTo(port.port, [host]);
  const from = [{ source: { namespaces: [namespace] } }];
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: metadata(policyName(resolved, namespace), service.namespace, { grant: grant.name, source: target.place }),
    spec: {
      selector: { matchLabels: service.selector },
      action: 'DENY',
      rules: [
        {
          from: [{ source: { namespaces: [namespace], notRequestPrincipals: [anyoneOf(tokens)] } }],
          when: onThisPort,
        },
        { from, when: [...onThisPort, { key: 'request.auth.claims[grants]', notValues: [grant.name] }] },
        ...(target.allow
          ? refusedOperations(target.allow).map((operation) => ({ from, to: [{ operation }], when: onThisPort }))
          : []),
        ...(target.deny ? [{ from, to: target.deny.map(toOperation), when: onThisPort }] : []),
        ...lacking(target.require).map((lacks) => ({ from, when: [...onThisPort, lacks] })),
        ...(target.allow ?? []).flatMap((operation) =>
          lacking(operation.require).map((lacks) => ({
            ...{ from, to: [toOperation(operation)], when: [...onThisPort, lacks] },
          })),
        ),
      ],
    },
  };
}

/** `meshpass-GRANT.SERVICE.PORT`: labels hold no dots, so that no two triples share a name. At most 133 characters. */
export function policyName({ service, port }: ResolvedTarget, namespace: string): string {
  return `${namespace}.${service.name}.${port.port}`;
}

/** Istio splits at the last `/`: this is "issuer exactly ours, any subject". */
export function anyoneOf(tokens: IdentityTokens): string {
  return `${tokens.issuer}/*`;
}

/** Claim of the identity token that holds those claims of the proof that an access file requires somewhere. */
export const ATTESTED_CLAIMS = 'attested';

/** One condition a claim: that it has none of the wanted values, as it has not where it is missing. */
function lacking(require: ClaimValues | undefined): readonly { readonly key: string; readonly notValues: string[] }[] {
  return Object.entries(require ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, values]) => ({
      key: `request.auth.claims[${ATTESTED_CLAIMS}][${name}]`,
      notValues: [...values].sort(),
    }));
}

function toOperation({ method, path }: Operation): unknown {
  return { operation: { ...(method !== '*' && { methods: [method] }), paths: [path] } };
}

interface RefusedOperation {
  readonly methods?: readonly string[];
  readonly notMethods?: readonly string[];
  readonly notPaths?: readonly string[];
}

/**
 * The complement of the granted operations, as Istio operations: methods that are not named at all, and per method every
 * path but the granted ones. HEAD and OPTIONS are methods like any other: not granted unless listed.
 */
export function refusedOperations(allow: readonly Operation[]): readonly RefusedOperation[] {
  const pathsOf = (method: string) => allow.filter((operation) => operation.method === method).map(({ path }) => path);
  const anyMethod = pathsOf('*');
  const methods = [...new Set(allow.map(({ method }) => method))].filter((method) => method !== '*').sort();
  const distinct = (paths: readonly string[]) => [...new Set(paths)].sort();
  const others: RefusedOperation = {
    ...(methods.length > 0 && { notMethods: methods }),
    ...(anyMethod.length > 0 && { notPaths: distinct(anyMethod) }),
  };
  return [
    others,
    ...methods.map((method) => ({ methods: [method], notPaths: distinct([...pathsOf(method), ...anyMethod]) })),
  ];
}
