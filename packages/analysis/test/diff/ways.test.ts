/** Calls are not reported as equal if a waypoint on their way is not understood, or if their callers take another way. */
import { DEFAULT_MESH_CONFIG, loadManifests } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { compareMeaning } from '../../src/diff/compare.ts';

const object = (kind: string, metadata: string, spec = '{}', api = 'v1') =>
  `---\napiVersion: ${api}\nkind: ${kind}\nmetadata: {${metadata}}\nspec: ${spec}\n`;
const namespace = (name: string, labels: string) => object('Namespace', `name: ${name}, labels: {${labels}}`);
const deployment = (place: string, name: string, labels = '') =>
  object(
    'Deployment',
    `name: ${name}, namespace: ${place}`,
    `{template: {metadata: {labels: {app: ${name}${labels}}}, spec: {serviceAccountName: ${name}, containers: [{name: app}]}}}`,
    'apps/v1',
  );
const service = (address = '10.0.0.9', labels = '') =>
  object(
    'Service',
    `name: orders, namespace: shop, labels: {${labels}}`,
    `{clusterIP: ${address}, selector: {app: orders}, ports: [{name: http, port: 8080}]}`,
  );
const gateway = (place: string, className = 'istio-waypoint', labels = '') =>
  object(
    'Gateway',
    `name: gate, namespace: ${place}, labels: {${labels}}`,
    `{gatewayClassName: ${className}, listeners: [{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {namespaces: {from: All}}}]}`,
    'gateway.networking.k8s.io/v1',
  );
const deny = (rules = '[{to: [{operation: {methods: [DELETE]}}]}]', metadata = '') =>
  object(
    'AuthorizationPolicy',
    `name: deny, namespace: shop${metadata}`,
    `{targetRefs: [{kind: Service, group: "", name: orders}], action: DENY, rules: ${rules}}`,
    'security.istio.io/v1',
  );
const AMBIENT = 'istio.io/dataplane-mode: ambient';
const INJECTED = 'istio-injection: enabled';
const BEHIND = namespace('shop', `${AMBIENT}, istio.io/use-waypoint: gate`);
const ELSEWHERE = namespace('shop', `${AMBIENT}, istio.io/use-waypoint: gate, istio.io/use-waypoint-namespace: infra`);
const ORDERS = service() + deployment('shop', 'orders');

const read = (text: string) => loadManifests(text, 'mesh.yaml').resources;
/** Reasons why calls to orders.shop are unknown. */
function unknown(before: string, after: string): readonly string[] {
  const found = compareMeaning(read(before), read(after), DEFAULT_MESH_CONFIG).unknown;
  return found.flatMap(({ reason, where }) => (where.some(({ services }) => services.length > 0) ? [reason] : []));
}

describe('a waypoint of another namespace', () => {
  const mesh = ELSEWHERE + ORDERS + deny();
  const patch = object(
    'EnvoyFilter',
    'name: patch, namespace: infra',
    '{targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: gate}], configPatches: [{applyTo: HTTP_FILTER}]}',
    'networking.istio.io/v1alpha3',
  );
  const other = mesh + gateway('infra', 'other');

  it.each<readonly [string, string, string, RegExp]>([
    ['that a patch changes', mesh + gateway('infra'), mesh + gateway('infra') + patch, /EnvoyFilter infra\/patch/],
    ['whose patch goes', mesh + gateway('infra') + patch, mesh + gateway('infra'), /EnvoyFilter infra\/patch/],
    ['that gets another class', mesh + gateway('infra'), other, /has the class other/],
    ['with an unknown class, whose labels differ', other, mesh + gateway('infra', 'other', 'a: b'), /the class other/],
    ['with an unknown class, whose policy goes', other, other.replace(deny(), ''), /has the class other/],
    ['that was not read, whose policy goes', mesh, ELSEWHERE + ORDERS, /infra\/gate was not read/],
    [
      'whose policy applies to one revision',
      mesh + gateway('infra'),
      ELSEWHERE + ORDERS + gateway('infra') + deny(undefined, ', labels: {istio.io/rev: canary}'),
      /only istiods of revision canary enforce AuthorizationPolicy shop\/deny/,
    ],
  ])('%s is unknown', (_, before, after, reason) => {
    expect(unknown(before, after).some((one) => reason.test(one))).toBe(true);
  });

  it('is equal if nothing differs, or only another namespace does', () => {
    expect(unknown(other, other)).toEqual([]);
    expect(unknown(other, other + deployment('web', 'web'))).toEqual([]);
  });
});

it('a headless Service is unknown if a waypoint may take the calls to the addresses of Pods', () => {
  const mesh = BEHIND + service('None') + deployment('shop', 'orders');
  const policy = deny().replace(
    'Service, group: "", name: orders',
    'Gateway, group: gateway.networking.k8s.io, name: gate',
  );
  const forPods = mesh + gateway('shop', undefined, 'istio.io/waypoint-for: all');
  expect(unknown(forPods + policy, forPods)).toEqual([expect.stringContaining('a waypoint takes the calls')]);
  expect(unknown(mesh + gateway('shop') + policy, mesh + gateway('shop'))).toEqual([]);
});

describe('callers whose proxy changes', () => {
  const mesh = BEHIND + ORDERS + gateway('shop');
  const web = deployment('dev', 'web');
  const strict = object(
    'PeerAuthentication',
    'name: default, namespace: istio-system',
    '{mtls: {mode: STRICT}}',
    'security.istio.io/v1',
  );
  const injected = namespace('shop', INJECTED) + ORDERS + strict;
  const moves = (one: string, from: string, to: string) => [
    expect.stringMatching(`^callers of namespace ${one} change from ${from} to ${to}, `),
  ];
  const ambient = namespace('dev', AMBIENT);
  const sidecar = namespace('dev', INJECTED);

  it('are unknown at a Service whose waypoint decides, and are named', () => {
    const guarded = mesh + deny();
    expect(unknown(guarded + ambient, guarded + sidecar)).toEqual(moves('dev', 'ambient mode', 'a sidecar'));
    expect(unknown(guarded + sidecar + web, guarded + ambient + web)).toEqual(
      moves('dev', 'a sidecar', 'ambient mode'),
    );
  });

  it('count if only their Pods change', () => {
    const guarded = mesh + deny() + ambient;
    const moved = deployment('dev', 'web', ', istio.io/dataplane-mode: none, sidecar.istio.io/inject: "true"');
    expect(unknown(guarded + web, guarded + moved)).toEqual(moves('dev', 'ambient mode', 'a sidecar'));
    expect(unknown(guarded, guarded + moved)).toEqual(moves('dev', 'ambient mode', 'a sidecar'));
  });

  it('are unknown at a sidecar that requires mutual TLS, which they may lose', () => {
    expect(unknown(injected + sidecar, injected + ambient)).toEqual(moves('dev', 'a sidecar', 'ambient mode'));
    expect(unknown(injected + sidecar, injected + namespace('dev', 'a: b'))).toEqual(
      moves('dev', 'a sidecar', 'no proxy'),
    );
  });

  it('make the ports unknown that are not understood', () => {
    const guarded = BEHIND + ORDERS + gateway('shop', 'other');
    expect(unknown(guarded + ambient, guarded + sidecar)).toContain(
      'waypoint shop/gate has the class other, not istio-waypoint',
    );
  });

  it('are compared if every way is decided alike', () => {
    expect(unknown(mesh + ambient, mesh + sidecar)).toEqual([]);
    const other = mesh + deny('[{from: [{source: {namespaces: [web]}}]}]');
    expect(unknown(other + ambient, other + sidecar)).toEqual([]);
    expect(
      unknown(namespace('shop', INJECTED) + ORDERS + ambient, namespace('shop', INJECTED) + ORDERS + sidecar),
    ).toEqual([]);
  });

  it('are not invented if a Pod or a Namespace is new', () => {
    const requested = deployment('dev', 'web', ', sidecar.istio.io/inject: "true"');
    expect(unknown(injected + namespace('dev', 'a: b'), injected + namespace('dev', 'a: b') + requested)).toEqual([]);
    expect(unknown(injected, injected + ambient)).toEqual([]);
    expect(unknown(injected + web, injected + web + sidecar)).toEqual([]);
  });

  it('include gateways that stop to call a Service through its waypoint', () => {
    const guarded = BEHIND + deployment('shop', 'orders') + gateway('shop') + deny();
    const used = service(undefined, 'istio.io/ingress-use-waypoint: "true"');
    expect(unknown(guarded + used, guarded + service())).toEqual([expect.stringMatching(/^gateways call its Service/)]);
  });
});
