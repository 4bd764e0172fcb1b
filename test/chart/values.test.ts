/** Values, their schema and their page say the same. */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { type ValueSchema, valuesSchema } from '../../deploy/reference/chart-values.ts';
import { BUILD_MS, CHART, FIRST_INSTALL, find, render } from './helm.ts';

/** Names of all members, those of open objects as one. */
function paths(name: string, schema: ValueSchema): string[] {
  if (!schema.properties) return [name];
  return Object.entries(schema.properties).flatMap(([member, inner]) => paths(`${name}.${member}`, inner));
}

function valueAt(name: string): unknown {
  const values = parse(readFileSync(`${CHART}values.yaml`, 'utf8'));
  return name
    .split('.')
    .slice(1)
    .reduce((value, member) => value?.[member], values);
}

describe('every value', () => {
  it.each(paths('', valuesSchema()).filter((name) => !/^\.(global|acceptRestore)\b/.test(name)))(
    'that the schema describes has a default: %s',
    (name) => {
      expect(valueAt(name)).toBeDefined();
    },
  );

  it.each([
    [{ brokre: {} }, 'brokre'],
    [{ broker: { host: 'https://broker.example.com' } }, 'does not match pattern'],
    [{ admission: { services: ['*'] } }, 'does not match pattern'],
    [{ image: { digest: 'latest' } }, 'does not match pattern'],
    [{ github: { presence: 'never' } }, 'presence'],
    [{ broker: { extraArgs: ['serve'] } }, 'does not match pattern'],
    // It stands between quotes in a policy.
    [{ mesh: { clusterDomain: "x' || true || '" } }, 'does not match pattern'],
  ])(
    'is checked before anything is rendered: %o',
    async (values, message) => {
      await expect(render(FIRST_INSTALL, values)).rejects.toThrow(message);
    },
    BUILD_MS,
  );
});

it(
  'an id of an App is a number as GitHub writes it',
  async () => {
    const objects = JSON.stringify(await render(FIRST_INSTALL, { github: { appId: 123456789 } }));
    expect(objects).toContain('"--github-app=123456789"');
  },
  BUILD_MS,
);

it(
  "GitHub's audit log stream is accepted if it is enabled, with the token beside the key of the App",
  async () => {
    const flagsOf = async (auditStream: boolean): Promise<readonly string[]> => {
      const objects = await render(FIRST_INSTALL, { github: { auditStream } });
      return find(objects, 'Deployment', 'meshpass-broker').spec.template.spec.containers[0].args;
    };
    const flag = '--github-event-token=/etc/meshpass/github/event-token';
    expect(await flagsOf(true)).toContain(flag);
    expect(await flagsOf(false)).not.toContain(flag);
    const without = render(FIRST_INSTALL, { github: { appId: '', auditStream: true } });
    await expect(without).rejects.toThrow('github.auditStream: requires github.appId');
  },
  BUILD_MS,
);

it.each([0, 20, 3_600])(
  'an edge that drains for %i seconds has more time than that, and than it waits before',
  async (drainSeconds) => {
    const { spec } = find(await render(FIRST_INSTALL, { edge: { drainSeconds } }), 'Deployment', 'meshpass-edge').spec
      .template;
    const [{ args, lifecycle }] = spec.containers;
    expect(args).toContain(`--drain=${drainSeconds}`);
    expect(spec.terminationGracePeriodSeconds).toBeGreaterThan(drainSeconds + lifecycle.preStop.sleep.seconds);
  },
  BUILD_MS,
);

describe('the access file', () => {
  const content = (more: string) =>
    `# reviewed${more}\ngrants: {a: {who: [{user: ann}], to: [{service: orders.shop, port: 80}]}}\n`;

  // For YAML the line ends there, so the comment would continue as a separate object.
  it.each([
    ['CR', '\r'],
    ['NEL', '\u0085'],
    ['LS', '\u2028'],
    ['PS', '\u2029'],
  ])(
    'cannot leave its place in the ConfigMap by %s',
    async (_, end) => {
      const file = join(mkdtempSync(join(tmpdir(), 'meshpass-access-')), 'access.yaml');
      writeFileSync(file, content(`${end}kind: ClusterRoleBinding`));
      const rendering = render(FIRST_INSTALL, {}, ['--set-file', `access.content=${file}`]);
      await expect(rendering).rejects.toThrow('lines must end with a line feed');
    },
    BUILD_MS,
  );

  it(
    'may come from Windows',
    async () => {
      const objects = await render(FIRST_INSTALL, { access: { content: content('').replaceAll('\n', '\r\n') } });
      expect(find(objects, 'ConfigMap', 'meshpass-access').data['access.yaml'].trim()).toBe(content('').trim());
    },
    BUILD_MS,
  );
});

describe('the namespace of the release', () => {
  it(
    'contains no grants under any name, because it has the keys',
    async () => {
      const objects = await render(FIRST_INSTALL, {}, ['--namespace', 'platform']);
      const { variables } = find(objects, 'ValidatingAdmissionPolicy', 'meshpass-policies').spec;
      const grantable = variables.find(({ name }: { name: string }) => name === 'isGrantable').expression;
      expect(grantable).toContain("request.namespace != 'platform' &&");
    },
    BUILD_MS,
  );

  it(
    'is not that of istiod',
    async () => {
      const rendering = render(FIRST_INSTALL, {}, ['--namespace', 'istio-system']);
      await expect(rendering).rejects.toThrow('its own namespace');
    },
    BUILD_MS,
  );
});
