/** A trial (docs/install/trial.md) is off by default, and never beside a real installation. */
import { describe, expect, it } from 'vitest';
import { BUILD_MS, FIRST_INSTALL, find, PRODUCTION, type Rendered, render } from '../helm.ts';

const TRIAL = { trial: { enabled: true, service: 'orders.shop:8080', path: '/orders/1' } };
const NAME = 'meshpass-insecure-trial';
/** Values of no file but the chart's own. */
const NO_FILE = '/dev/null';
const brokerOf = (objects: readonly Rendered[]) =>
  find(objects, 'Deployment', 'meshpass-broker').spec.template.spec.containers[0];

it.each([
  ['a first installation', FIRST_INSTALL],
  ['production', PRODUCTION],
])(
  '%s has nothing of it',
  async (_, file) => {
    const text = JSON.stringify(await render(file));
    expect(text).not.toContain('insecure');
    expect(text).not.toContain('lab-only');
  },
  BUILD_MS,
);

it('runs the image of the trial everywhere, with names that alarm', async () => {
  const objects = await render(NO_FILE, TRIAL);
  const broker = brokerOf(objects);
  expect(broker.args).toContain(`--lab-only-send-github-tokens-to=${NAME}.meshpass-system.svc:8444`);
  expect(broker.args).toContain(`--github-api=https://${NAME}.meshpass-system.svc`);
  expect(broker.image).toMatch(/\/meshpass-insecure-trial:/);
  const edge = find(objects, 'Deployment', 'meshpass-edge').spec.template.spec.containers[0];
  const trial = find(objects, 'Deployment', NAME).spec.template;
  expect([edge, ...trial.spec.containers].map(({ image }) => image)).toEqual([
    broker.image,
    broker.image,
    broker.image,
  ]);
  expect(trial.metadata.labels['sidecar.istio.io/inject']).toBe('false');
});

it('grants one path of one service', async () => {
  const access = find(await render(NO_FILE, TRIAL), 'ConfigMap', 'meshpass-access').data['access.yaml'];
  expect(access).toContain('to: [{service: orders.shop, port: 8080, allow: [GET /orders/1]}]');
});

it('needs no load balancer', async () => {
  const services = (await render(NO_FILE, TRIAL)).filter(({ kind }) => kind === 'Service');
  expect(new Set(services.map(({ spec }) => spec.type ?? 'ClusterIP'))).toEqual(new Set(['ClusterIP']));
});

it('keeps nothing at an uninstallation', async () => {
  expect(JSON.stringify(await render(NO_FILE, TRIAL))).not.toContain('helm.sh/resource-policy');
});

describe('it is refused', () => {
  it.each([
    ['github.appId', { github: { appId: '12345' } }],
    ['github.api', { github: { api: 'https://github.example.com/api/v3' } }],
    ['broker.host', { broker: { host: 'broker.example.com' } }],
    ['access.content', { access: { content: 'grants: {}' } }],
    ['database.secret', { database: { secret: 'meshpass-database' } }],
    ['certificates.issuer.name', { certificates: { issuer: { name: 'letsencrypt' } } }],
    ['kubernetes.enabled', { kubernetes: { enabled: true } }],
    ['gitops', { gitops: true }],
  ])('beside %s of a real installation', async (name, values) => {
    await expect(render(NO_FILE, { ...TRIAL, ...values })).rejects.toThrow(`Remove ${name}`);
  });

  it.each([PRODUCTION, FIRST_INSTALL])('beside the values of %s', async (file) => {
    await expect(render(file, TRIAL)).rejects.toThrow('trial.enabled: a trial trusts a stand-in for GitHub');
  });

  it('without a service, and with a path that the access file would read as a pattern', async () => {
    await expect(render(NO_FILE, { trial: { enabled: true } })).rejects.toThrow('trial.service');
    await expect(render(NO_FILE, { trial: { ...TRIAL.trial, path: '/*' } })).rejects.toThrow('trial/path');
  });
});
