/** Findings of `meshpass check` about kubectl in workspaces: on, off or half on, and the bound roles. */
import { expect, it } from 'vitest';
import type { CheckContext } from '../../src/check/context.ts';
import { checkKubectl } from '../../src/check/kubectl.ts';

const AUDIENCE = 'https://kubernetes.default.svc.cluster.local';
const RBAC = '/apis/rbac.authorization.k8s.io/v1';

const cluster = (objects: Readonly<Record<string, unknown>>): CheckContext => ({
  http: {
    call: async ({ path }) => ({ status: objects[path] === undefined ? 404 : 200, body: objects[path] ?? {} }),
  },
  namespace: 'mine',
  rootNamespace: 'istio-system',
  istiod: 'istiod',
  gitops: false,
  now: Date.now,
  gateway: { namespace: 'mine', labels: { istio: 'meshpass-gateway' }, port: 15443 },
});
const deployment = (part: string, ...args: string[]) => ({
  [`/apis/apps/v1/namespaces/mine/deployments/meshpass-${part}`]: {
    spec: { template: { spec: { containers: [{ args }] } } },
  },
});
const policy = (audience: string) => ({
  '/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/meshpass-accounts': {
    spec: { variables: [{ name: 'kubernetesAudience', expression: `'${audience}'` }] },
  },
});
const BROKER = deployment('broker', 'serve', `--kubernetes-audience=${AUDIENCE}`);
const EDGE = deployment('edge', 'edge', '--kubernetes-api=kubernetes.default.svc:443');
const bound = (name: string, ...rules: unknown[]) => ({
  [`${RBAC}/rolebindings`]: {
    items: [{ metadata: { name: `meshpass-dev.${name}`, namespace: 'shop' }, roleRef: { name } }],
  },
  [`${RBAC}/clusterroles`]: { items: rules.length > 0 ? [{ metadata: { name }, rules }] : [] },
});
const said = async (objects: Readonly<Record<string, unknown>>) =>
  (await checkKubectl(cluster(objects))).map(({ state, says }) => `${state}: ${says}`);

it('is off by default', async () => {
  expect(await said({ ...deployment('broker', 'serve'), ...deployment('edge', 'edge'), ...policy('') })).toEqual([
    'ok: kubectl in workspaces is off (kubernetes.enabled in the chart).',
  ]);
});

it('is on if broker, edge and admission agree', async () => {
  expect(await said({ ...BROKER, ...EDGE, ...policy(AUDIENCE) })).toEqual([
    `ok: Workspaces whose grants have roles can reach kubernetes.default.svc:443 with tokens for ${AUDIENCE}.`,
  ]);
});

it.each([
  ['the edge alone', { ...EDGE, ...policy(AUDIENCE) }, /the broker does not issue tokens/],
  ['the broker alone', { ...BROKER, ...policy(AUDIENCE) }, /the edge does not connect to it/],
  [
    'admission of another audience',
    { ...BROKER, ...EDGE, ...policy('https://other') },
    /does not allow the broker to request/,
  ],
  ['no admission', { ...BROKER, ...EDGE }, /does not allow the broker to request/],
])('is wrong with %s', async (_, objects, message) => {
  const [first] = await said(objects);
  expect(first).toMatch(/^failed: /);
  expect(first).toMatch(message);
});

it('reports missing roles, and what the others allow', async () => {
  const rule = (resources: string[], verbs: string[]) => ({ apiGroups: [''], resources, verbs });
  expect((await said(bound('gone'))).at(-1)).toBe(
    'failed: shop/meshpass-dev.gone binds the ClusterRole gone, which does not exist.',
  );
  expect((await said(bound('debug', rule(['pods/exec'], ['create'])))).at(-1)).toBe(
    'warning: The ClusterRole debug bound by shop/meshpass-dev.debug allows exec.',
  );
  expect(await said(bound('reader', rule(['pods'], ['get'])))).toHaveLength(1);
});
