/** Break-glass of the chart: off, and without any trace, unless the values enable it. */
import { expect, it } from 'vitest';
import { BUILD_MS, CHART, FIRST_INSTALL, find, helm, PRODUCTION, type Rendered, render } from '../helm.ts';

const broker = (objects: readonly Rendered[]) => find(objects, 'Deployment', 'meshpass-broker').spec.template.spec;
const keysOf = (objects: readonly Rendered[]): readonly string[] => {
  const { secret } = broker(objects).volumes.find(({ name }: { name: string }) => name === 'keys');
  return secret.items.map(({ key }: { key: string }) => key);
};
const argsOfKeys = (objects: readonly Rendered[]): readonly string[] =>
  find(objects, 'Job', 'meshpass-keys').spec.template.spec.containers[0].args;

it.each([FIRST_INSTALL, PRODUCTION])(
  'is off by default: the token of the Secret is not even in the Pod, and none is made (%s)',
  async (file) => {
    const objects = await render(file);
    expect(JSON.stringify(objects)).not.toMatch(/operator-token|OPERATOR_TOKEN|BREAK_GLASS|--break-glass/);
    expect(keysOf(objects)).toEqual(['audit-key.pem']);
  },
  BUILD_MS,
);

it(
  'is on if the values enable it: token, switch, and a token in a new Secret',
  async () => {
    const objects = await render(FIRST_INSTALL, { breakGlass: { enabled: true } });
    expect(keysOf(objects)).toEqual(['audit-key.pem', 'operator-token']);
    expect(broker(objects).containers[0].env).toEqual(
      expect.arrayContaining([
        { name: 'MESHPASS_OPERATOR_TOKEN_FILE', value: '/etc/meshpass/keys/operator-token' },
        { name: 'MESHPASS_BREAK_GLASS', value: 'true' },
      ]),
    );
    expect(argsOfKeys(objects)).toContain('--with-operator-token');
  },
  BUILD_MS,
);

it(
  'is mentioned in the notes if the access file of the values has no operators, which may not be the file in force',
  async () => {
    const notes = async (text: string, ...more: readonly string[]) => {
      const sets = [`access.content=${text.replaceAll(',', '\\,')}`, ...more].flatMap((value) => ['--set', value]);
      return await helm('install', 'meshpass', CHART, '--dry-run=client', '-f', FIRST_INSTALL, ...sets);
    };
    const grants = 'grants: {a: {who: [{user: ann}], to: [{service: orders.shop, port: 80}]}}\n';
    const operators = 'operators: {serviceAccounts: [{serviceAccount: ci/deployer, roles: [operator]}]}\n';
    const hint = 'not one that was applied by plan. If one was, also copy its "operators"';
    expect(await notes(grants)).toContain(hint);
    expect(await notes(grants + operators)).not.toContain(hint);
    expect(await notes(grants, 'breakGlass.enabled=true')).not.toContain(hint);
  },
  BUILD_MS,
);
