/** An upgrade that would leave Meshpass without operators is refused: during `helm upgrade`, the chart queries the cluster for existing objects. */
import { type Lab, upLab } from '@meshpass/lab';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ApiServer, apiServerOf } from '../api-server.ts';
import { BUILD_MS, CHART, FIRST_INSTALL, find, helm, render } from '../helm.ts';

const NAMESPACE = 'chart-break-glass';
const GRANTS = 'grants: {a: {who: [{user: ann}], to: [{service: orders.shop, port: 80}]}}\n';
const NOBODY = `${GRANTS}operators: {session: 30m, viewer: []}\n`;
const SOMEBODY = `${GRANTS}operators: {serviceAccounts: [{serviceAccount: ci/deployer, roles: [operator]}]}\n`;
const REFUSED = 'so Meshpass would have no operators. Set breakGlass.enabled: true for this upgrade';

let lab: Lab;
let api: ApiServer;
beforeAll(async () => {
  lab = await upLab({ name: process.env.MESHPASS_LAB ?? 'mesh' });
  api = apiServerOf(lab);
  await lab.kubernetes.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } });
}, BUILD_MS);
afterAll(async () => {
  await lab?.kubernetes.call('DELETE', `/api/v1/namespaces/${NAMESPACE}`);
  await lab?.down();
});

const upgraded = async (...sets: readonly string[]) => {
  const where = ['--namespace', NAMESPACE, '--take-ownership', '--dry-run=server', '--kubeconfig', lab.kubeconfig];
  // Without cert-manager, whose kinds a lab does not have.
  const values = ['database.secret=postgres', 'certificates.issuer.name=', ...sets].flatMap((value) => [
    '--set',
    value,
  ]);
  return await helm('template', 'meshpass', CHART, ...where, '-f', FIRST_INSTALL, ...values);
};
const withFile = (text: string, ...sets: readonly string[]) =>
  upgraded(...sets, `access.content=${text.replaceAll(',', '\\,')}`);
/** The Deployment of an installation with this value. */
const there = async (enabled: boolean) => {
  const objects = await render(FIRST_INSTALL, { breakGlass: { enabled } }, ['--namespace', NAMESPACE]);
  await api.send(find(objects, 'Deployment', 'meshpass-broker'), false);
};

it('if there was a token until now, and the access file has no operators', async () => {
  await there(true);
  await expect(withFile(GRANTS)).rejects.toThrow(REFUSED);
  await expect(withFile(NOBODY)).rejects.toThrow(REFUSED);
  // The file in force may be another one.
  await expect(withFile(NOBODY)).rejects.toThrow('not one that was applied by plan');
  expect(await withFile(SOMEBODY)).not.toContain('MESHPASS_BREAK_GLASS');
  expect(await withFile(GRANTS, 'breakGlass.enabled=true')).toContain('MESHPASS_BREAK_GLASS');
});

it('even if the access file is in a foreign ConfigMap', async () => {
  const inMap = () => upgraded('access.content=', 'access.configMap=access-file', 'admission.services={orders.shop}');
  await expect(inMap()).rejects.toThrow(REFUSED);
  const metadata = { name: 'access-file', namespace: NAMESPACE };
  await lab.kubernetes.apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { 'access.yaml': SOMEBODY } });
  expect(await inMap()).toContain('name: meshpass-broker');
});

it('but not if there was none: the broker warns that it has no operators', async () => {
  await there(false);
  expect(await withFile(GRANTS)).toContain('name: meshpass-broker');
});
