/** Denials of ended sessions while a part of the cluster fails, and after other writers changed the policies. */
import type { Manifest } from '@meshpass/access';
import { beforeEach, expect, it } from 'vitest';
import type { Kubernetes } from '../../src/mesh/kubernetes/kubernetes.ts';
import { createRevoker, type RevokedPrincipal } from '../../src/mesh/reconcile/revocation/revoker.ts';

const NAME = 'meshpass-revoked';
const namespace = 'meshpass-dev';
const principal = (serviceAccount: string): RevokedPrincipal => ({
  namespace,
  serviceAccount,
  spiffeId: `spiffe://cluster.local/ns/${namespace}/sa/${serviceAccount}`,
  until: 5000,
  sessionId: `session-of-${serviceAccount}`,
});
type Fields = Record<string, unknown>;

let policies: Map<string, Manifest>;
let calls: string[];
let refused: readonly string[];
let now: number;
beforeEach(() => {
  [policies, calls, refused, now] = [new Map(), [], [], 1000];
});

/** As the API server: an apply replaces or adds its own fields, and keeps those of other writers. */
function applied(found: Manifest | undefined, { metadata, ...rest }: Manifest): Manifest {
  const [labels, annotations] = [
    { ...found?.metadata.labels, ...metadata.labels },
    { ...found?.metadata.annotations, ...metadata.annotations },
  ];
  return {
    ...rest,
    metadata: { ...metadata, labels, annotations },
    spec: { ...(found?.spec as Fields), ...(rest.spec as Fields) },
  };
}

function revoker() {
  const refuse = (what: string) => {
    calls.push(what);
    if (refused.includes(what)) throw new Error(`refused: ${what}`);
  };
  const kubernetes = {
    list: async (kind: string) =>
      kind === 'AuthorizationPolicy'
        ? [...policies.values()].filter(
            ({ metadata }) => metadata.labels['app.kubernetes.io/component'] === 'revocation',
          )
        : [],
    apply: async (policy: Manifest) => {
      const { name } = policy.metadata;
      refuse(`apply ${name}`);
      policies.set(name, applied(policies.get(name), structuredClone(policy)));
    },
    remove: async ({ metadata: { name } }: Manifest) => {
      refuse(`remove ${name}`);
      policies.delete(name);
    },
    deleteServiceAccount: async (_: string, name: string) => refuse(`delete ${name}`),
  };
  return createRevoker({
    kubernetes: kubernetes as unknown as Kubernetes,
    trustDomain: 'cluster.local',
    rootNamespace: 'istio-system',
    httpServers: () => ({ namespaces: [namespace], ports: [{ port: 80, hosts: ['orders.shop'] }] }),
    now: () => now,
  });
}

it('denies principals and tokens before it deletes ServiceAccounts, and attempts all deletions if one fails', async () => {
  const names = Array.from({ length: 10 }, (_, index) => `ann-${index}`);
  refused = ['delete ann-0'];
  const revoking = revoker();
  await expect(revoking.apply(names.map(principal))).rejects.toThrow('refused: delete ann-0');
  expect(calls).toEqual([`apply ${NAME}`, 'apply meshpass-ended-sessions', ...names.map((name) => `delete ${name}`)]);
  [refused, calls] = [[], []];
  await revoking.apply(names.map(principal));
  expect(calls).toEqual(['delete ann-0']);
});

it('deletes ServiceAccounts if the tokens cannot be denied', async () => {
  refused = ['apply meshpass-ended-sessions'];
  await expect(revoker().apply([principal('ann-1')])).rejects.toThrow('refused: apply meshpass-ended-sessions');
  expect(calls.at(-1)).toBe('delete ann-1');
});

const merged = (policy: Manifest, metadata: Partial<Manifest['metadata']>, spec: Fields = {}): Manifest => ({
  ...policy,
  metadata: { ...policy.metadata, ...metadata },
  spec: { ...(policy.spec as Fields), ...spec },
});
const labelled = (policy: Manifest, more: Record<string, string>) =>
  merged(policy, { labels: { ...policy.metadata.labels, ...more } });

const CHANGES: readonly (readonly [string, (policy: Manifest) => Manifest])[] = [
  ['a dry run', (policy) => merged(policy, { annotations: { 'istio.io/dry-run': 'true' } })],
  ['a dry run in another spelling', (policy) => merged(policy, { annotations: { 'istio.io/dry-run': '1' } })],
  ['a revision', (policy) => labelled(policy, { 'istio.io/rev': 'canary' })],
  ['an empty revision', (policy) => labelled(policy, { 'istio.io/rev': '' })],
  ['a selector', (policy) => merged(policy, {}, { selector: { matchLabels: { app: 'none' } } })],
  ['an action', (policy) => merged(policy, {}, { action: 'AUDIT' })],
  ['a changed label of the broker', (policy) => labelled(policy, { 'app.kubernetes.io/component': 'other' })],
  ['a removed label of the broker', (policy) => merged(policy, { labels: {} })],
];

it.each(CHANGES)('repairs a policy to which another writer gave %s', async (_, change) => {
  const revoking = revoker();
  await revoking.apply([principal('ann-1')]);
  const written = policies.get(NAME)!;
  policies.set(NAME, change(written));
  now += 60;
  await revoking.apply([principal('ann-1')]);
  expect(policies.get(NAME)).toEqual(written);
});

it('does not write a policy again for labels and annotations that do not disable it', async () => {
  const revoking = revoker();
  await revoking.apply([principal('ann-1')]);
  const written = labelled(policies.get(NAME)!, { 'argocd.argoproj.io/instance': 'mesh' });
  policies.set(NAME, merged(written, { annotations: { note: 'seen', 'istio.io/dry-run': 'false' } }));
  [calls, now] = [[], now + 60];
  await revoking.apply([principal('ann-1')]);
  expect(calls).toEqual([]);
});
