/** Parts of resources that rules check, each with its path in the manifest. */

import {
  type AuthorizationAction,
  type AuthorizationCondition,
  type AuthorizationOperation,
  type AuthorizationPolicy,
  type AuthorizationRule,
  type AuthorizationSource,
  actionOf,
  type Gateway,
  type GatewayServer,
  type HttpRoute,
  type JwtRule,
  type Path,
  type RequestAuthentication,
  serverHost,
  type VirtualService,
} from '@meshpass/istio';
import { items, record, texts } from '@meshpass/istio/members';
import type { LintContext } from './context.ts';

/** Part of an AuthorizationPolicy. */
export interface PolicyPart<T> {
  readonly policy: AuthorizationPolicy;
  readonly action: AuthorizationAction;
  readonly value: T;
  readonly path: Path;
}

/** Returns the rules of every AuthorizationPolicy. */
export function policyRules({ mesh }: LintContext): readonly PolicyPart<AuthorizationRule>[] {
  return mesh.all('AuthorizationPolicy').flatMap(rulesOf);
}

/** Returns the rules of a policy. */
export function rulesOf(policy: AuthorizationPolicy): readonly PolicyPart<AuthorizationRule>[] {
  const action = actionOf(policy);
  return items(policy.spec.rules).map((value, index) => ({ policy, action, value, path: ['spec', 'rules', index] }));
}

/** Returns the sources of a rule. */
export function sourcesOf(rule: PolicyPart<AuthorizationRule>): readonly PolicyPart<AuthorizationSource>[] {
  return items(rule.value.from).map(({ source }, index) => ({
    ...rule,
    value: record(source) as AuthorizationSource,
    path: [...rule.path, 'from', index, 'source'],
  }));
}

/** Returns the operations of a rule. */
export function operationsOf(rule: PolicyPart<AuthorizationRule>): readonly PolicyPart<AuthorizationOperation>[] {
  return items(rule.value.to).map(({ operation }, index) => ({
    ...rule,
    value: record(operation) as AuthorizationOperation,
    path: [...rule.path, 'to', index, 'operation'],
  }));
}

/** Returns the `when` conditions of a rule. */
export function conditionsOf(rule: PolicyPart<AuthorizationRule>): readonly PolicyPart<AuthorizationCondition>[] {
  return items(rule.value.when).map((value, index) => ({ ...rule, value, path: [...rule.path, 'when', index] }));
}

const PEER: readonly (keyof AuthorizationSource)[] = ['principals', 'namespaces', 'serviceAccounts', 'trustDomains'];

/** Finds the first part of a rule that identifies callers by their certificate. */
export function firstPeer(
  rule: PolicyPart<AuthorizationRule>,
): { readonly path: Path; readonly part?: 'key' } | undefined {
  const listed = sourcesOf(rule).flatMap(({ value, path }) =>
    PEER.filter((list) => texts(value[list]).length > 0).map((list) => [...path, list]),
  )[0];
  if (listed) return { path: listed, part: 'key' };
  const condition = conditionsOf(rule).find(
    ({ value }) =>
      /^source\.(?:principal|namespace|serviceAccount)$/.test(String(value.key)) && texts(value.values).length > 0,
  );
  return condition && { path: condition.path };
}

/** Returns every string in the lists of a source or an operation, with the list's name, such as `notPaths`. */
export function entriesOf({ policy, action, value, path }: PolicyPart<AuthorizationSource | AuthorizationOperation>) {
  return Object.entries(value).flatMap(([list, values]) =>
    texts(values).map((text, index) => ({ policy, action, list, text, path: [...path, list, index] })),
  );
}

interface ServerPlace {
  readonly gateway: Gateway;
  readonly server: GatewayServer;
  readonly path: Path;
}

/** Returns the servers of every Istio Gateway. */
export function gatewayServers({ mesh }: LintContext): readonly ServerPlace[] {
  return mesh
    .all('Gateway')
    .flatMap((gateway) =>
      items(gateway.spec.servers).map((server, index) => ({ gateway, server, path: ['spec', 'servers', index] })),
    );
}

/** Returns the hosts of a server, as written and as read by `serverHost`. */
export function hostsOf({ gateway, server, path }: ServerPlace) {
  return texts(server.hosts).map((written, index) => ({
    gateway,
    written,
    ...serverHost(written, gateway.metadata.namespace),
    path: [...path, 'hosts', index],
  }));
}

/** Returns the HTTP routes of every VirtualService. */
export function httpRoutes({
  mesh,
}: LintContext): readonly { readonly service: VirtualService; readonly route: HttpRoute; readonly path: Path }[] {
  return mesh
    .all('VirtualService')
    .flatMap((service) =>
      items(service.spec.http).map((route, index) => ({ service, route, path: ['spec', 'http', index] })),
    );
}

/** Returns the destinations of all routes in a VirtualService. */
export function destinationsOf(service: VirtualService) {
  return (['http', 'tls', 'tcp'] as const).flatMap((protocol) =>
    (service.spec[protocol] ?? []).flatMap(({ route = [] }, index) =>
      route.map(({ destination }, nth) => ({
        service,
        destination,
        path: ['spec', protocol, index, 'route', nth, 'destination'],
      })),
    ),
  );
}

/** Returns the token rules of every RequestAuthentication. */
export function jwtRules({
  mesh,
}: LintContext): readonly { readonly policy: RequestAuthentication; readonly rule: JwtRule; readonly path: Path }[] {
  return mesh
    .all('RequestAuthentication')
    .flatMap((policy) =>
      items(policy.spec.jwtRules).map((rule, index) => ({ policy, rule, path: ['spec', 'jwtRules', index] })),
    );
}
