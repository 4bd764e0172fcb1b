/** Objects that the chart installs, as rendered by Helm. */
import { VERSION } from '@meshpass/identity';
import { beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { BUILD_MS, CHART, FIRST_INSTALL, find, helm, PRODUCTION, type Rendered, render } from './helm.ts';

let first: Rendered[];
let production: Rendered[];
beforeAll(async () => {
  first = await render(FIRST_INSTALL);
  production = await render(PRODUCTION);
}, BUILD_MS);

/** Templates of Pods, with what owns them. */
const pods = (objects: readonly Rendered[]) =>
  objects
    .filter(({ kind }) => ['Deployment', 'Job'].includes(kind))
    .map(({ metadata, spec }) => ({
      name: metadata.name,
      labels: spec.template.metadata.labels,
      spec: spec.template.spec,
    }));

const flagsOf = (objects: readonly Rendered[], name: string): string[] =>
  find(objects, 'Deployment', name).spec.template.spec.containers[0].args;

it('has the version of this release, and installs the image of it', async () => {
  const chart = parse(await helm('show', 'chart', CHART)) as { readonly version: string; readonly appVersion: string };
  expect(chart).toMatchObject({ version: VERSION, appVersion: VERSION });
});

describe('a first install', () => {
  it.each([FIRST_INSTALL, PRODUCTION])('passes `helm lint --strict`: %s', async (values) => {
    expect(await helm('lint', '--strict', CHART, '-f', values)).toContain('0 chart(s) failed');
  });

  it.each([
    [{ broker: { host: '' } }, 'broker.host: the public DNS name of the broker'],
    [{ edge: { host: '' } }, 'edge.host: the public DNS name of the edge'],
    [{ access: { content: '' } }, 'access.content: set the access file'],
    [{ access: { content: '', configMap: 'files' } }, 'admission.services: list the services'],
    [{ access: { content: '' }, admission: { services: ['*.shop'] } }, 'access.content: set the access file'],
    [{ admission: { services: ['shop'] } }, '/admission/services/0'],
    [{ admission: { services: ["a.b' + 'c.d"] } }, '/admission/services/0'],
  ])('names the missing or wrong value: %o', async (values, message) => {
    await expect(render(FIRST_INSTALL, values)).rejects.toThrow(message);
  });

  it('is refused by a cluster that cannot bound the broker', async () => {
    await expect(render(FIRST_INSTALL, {}, ['--kube-version', '1.29.0'])).rejects.toThrow('Kubernetes 1.30 or later');
  });

  it('is one broker with a volume that outlives the release; with a database, two without one', () => {
    expect(find(first, 'Deployment', 'meshpass-broker').spec.replicas).toBe(1);
    const claim = find(first, 'PersistentVolumeClaim', 'meshpass-data');
    expect(claim.spec.accessModes).toEqual(['ReadWriteOncePod']);
    expect(claim.metadata.annotations).toMatchObject({ 'helm.sh/resource-policy': 'keep' });
    expect(find(production, 'Deployment', 'meshpass-broker').spec.replicas).toBe(2);
    expect(production.map(({ kind }) => kind)).not.toContain('PersistentVolumeClaim');
  });
});

describe('the bound of a compromised broker', () => {
  const variables = (objects: readonly Rendered[]): Record<string, string> =>
    Object.fromEntries(
      find(objects, 'ValidatingAdmissionPolicy', 'meshpass-policies').spec.variables.map(
        (one: { name: string; expression: string }) => [one.name, one.expression],
      ),
    );

  it("is the access file's services, or the list of the mesh's owners", () => {
    expect(variables(first)).toMatchObject({ services: "['orders.shop']", issuer: "'https://broker.example.com'" });
    expect(variables(production)).toMatchObject({ services: "['*.preview-*', '*.shop']", rootNamespace: "'mesh'" });
  });

  it('can be applied before the rights that it bounds, and is in an earlier wave of Argo CD', async () => {
    const alone = await render(FIRST_INSTALL, {}, ['--show-only', 'templates/admission.yaml']);
    const kinds = new Set(alone.map(({ kind }) => kind));
    expect(kinds).toEqual(new Set(['ValidatingAdmissionPolicy', 'ValidatingAdmissionPolicyBinding']));
    expect(alone.map(({ metadata }) => metadata.name)).toEqual(
      expect.arrayContaining(['meshpass-policies', 'meshpass-accounts']),
    );
    for (const { metadata } of alone)
      expect(metadata.annotations, metadata.name).toEqual({ 'argocd.argoproj.io/sync-wave': '-1' });
    const rights = first.filter(({ kind }) => /^(Cluster)?Role/.test(kind));
    expect(rights.filter(({ metadata }) => metadata.annotations?.['argocd.argoproj.io/sync-wave'])).toEqual([]);
  });

  it('must be set if an access file selects services by label', async () => {
    const content = 'grants: {a: {who: [{user: ann}], to: [{namespace: {labels: {team: a}}, port: 80}]}}';
    await expect(render(FIRST_INSTALL, { access: { content } })).rejects.toThrow('grant a selects some by label');
  });

  it('is in the namespaces of this release and this mesh', async () => {
    const text = JSON.stringify(await render(PRODUCTION, {}, ['--namespace', 'platform']));
    expect(text).not.toContain('meshpass-system');
    expect(text).not.toContain('istio-system');
    expect(text).toContain("request.userInfo.username == 'system:serviceaccount:platform:meshpass-broker'");
  });

  it('leaves a broker that others apply for fewer rights, and the roles that it may bind to the values', async () => {
    const rules = (objects: readonly Rendered[]) =>
      JSON.stringify(find(objects, 'ClusterRole', 'meshpass-broker').rules);
    expect(rules(production)).not.toContain('"bind"');
    expect(flagsOf(production, 'meshpass-broker')).toContain('--gitops');
    expect(rules(await render(PRODUCTION, { gitops: false }))).toContain('"resourceNames":["view","edit"]');
  });
});

describe('keys', () => {
  it('are in no object of the chart: no upgrade can overwrite them, and no release holds them', () => {
    expect([...first, ...production].map(({ kind }) => kind)).not.toContain('Secret');
  });

  it('are made before the broker, by a Job whose account may only create Secrets, while it runs', () => {
    const made = first.filter(({ metadata }) => metadata.labels?.['app.kubernetes.io/component'] === 'keys');
    const hooks = made.filter(({ kind }) => kind !== 'NetworkPolicy');
    expect(hooks.map(({ kind }) => kind).sort()).toEqual(['Job', 'Role', 'RoleBinding', 'ServiceAccount']);
    for (const { metadata } of hooks)
      expect(metadata.annotations).toMatchObject({
        'helm.sh/hook': 'pre-install,pre-upgrade',
        'helm.sh/hook-delete-policy': 'before-hook-creation,hook-succeeded',
      });
    expect(find(first, 'Role', 'meshpass-keys').rules).toEqual([
      { apiGroups: [''], resources: ['secrets'], verbs: ['create'] },
    ]);
    const [{ args }] = find(first, 'Job', 'meshpass-keys').spec.template.spec.containers;
    expect(args).toEqual(['keys', 'create', '--secret=meshpass-system/meshpass-keys']);
  });

  it("may be a Secret of one's own", () => {
    expect(production.map(({ kind, metadata }) => `${kind} ${metadata.name}`)).not.toContain('Job meshpass-keys');
    const secret = expect.objectContaining({ secretName: 'vault-keys', defaultMode: 0o440 });
    const broker = find(production, 'Deployment', 'meshpass-broker');
    expect(broker.spec.template.spec.volumes).toContainEqual({ name: 'keys', secret });
  });
});

describe('labels', () => {
  it.each([FIRST_INSTALL, PRODUCTION])('are on every object, and on Pods: %s', async (values) => {
    const objects = await render(values);
    expect(objects.length).toBeGreaterThan(45);
    for (const { kind, metadata, spec } of objects)
      for (const labels of [metadata.labels, ...(spec?.template?.metadata ? [spec.template.metadata.labels] : [])])
        expect(labels, `${kind} ${metadata.name}`).toMatchObject({
          'app.kubernetes.io/name': 'meshpass',
          'app.kubernetes.io/instance': 'meshpass',
          'app.kubernetes.io/version': VERSION,
          'app.kubernetes.io/managed-by': 'Helm',
          'app.kubernetes.io/component': expect.stringMatching(/^[a-z-]+$/),
          'helm.sh/chart': `meshpass-${VERSION}`,
        });
  });
});

describe('the access file', () => {
  const argsOf = (objects: readonly Rendered[]): string[] =>
    find(objects, 'Job', 'meshpass-access-check').spec.template.spec.containers[0].args;

  it('is read before any change, within the current bounds, by a Job without any right', () => {
    for (const kind of ['ConfigMap', 'Job'])
      expect(find(first, kind, 'meshpass-access-check').metadata.annotations).toMatchObject({
        'helm.sh/hook': 'pre-install,pre-upgrade',
        'helm.sh/hook-delete-policy': 'before-hook-creation,hook-succeeded',
      });
    expect(find(first, 'ConfigMap', 'meshpass-access-check').data).toEqual(
      find(first, 'ConfigMap', 'meshpass-access').data,
    );
    const { spec } = find(first, 'Job', 'meshpass-access-check');
    expect(spec).toMatchObject({ backoffLimit: 0, template: { spec: { automountServiceAccountToken: false } } });
    expect(spec.template.spec.serviceAccountName).toBeUndefined();
    const file = '/etc/meshpass/access/access.yaml';
    expect(argsOf(first)).toEqual(['access', 'check', file, '--services=orders.shop', '--roles=view']);
  });

  it('goes before the keys, so that a refused one leaves nothing behind', () => {
    const weight = (kind: string, name: string) =>
      Number(find(first, kind, name).metadata.annotations?.['helm.sh/hook-weight']);
    expect(weight('ConfigMap', 'meshpass-access-check')).toBeLessThan(weight('Job', 'meshpass-access-check'));
    expect(weight('Job', 'meshpass-access-check')).toBeLessThan(weight('ServiceAccount', 'meshpass-keys'));
  });

  it('is in one piece, regardless of its meaning in YAML', async () => {
    const content = 'grants: {}\n# \'{{ }}\' "---"\n---\nkind: Secret\n';
    const objects = await render(FIRST_INSTALL, { access: { content }, admission: { services: ['*.shop'] } });
    expect(find(objects, 'ConfigMap', 'meshpass-access-check').data).toEqual({ 'access.yaml': content });
  });

  it('is not compared with the bounds if others apply', async () => {
    const values = { gitops: true, admission: { services: ['*.shop'] } };
    expect(argsOf(await render(FIRST_INSTALL, values))).toEqual([
      'access',
      'check',
      '/etc/meshpass/access/access.yaml',
    ]);
  });

  it("is not read from a ConfigMap of one's own without a cluster", () => {
    expect(production.map(({ metadata }) => metadata.name)).not.toContain('meshpass-access-check');
  });
});

describe('Pods', () => {
  it('are of the restricted Pod Security Standard, the mesh gateway included', () => {
    const all = [...pods(first), ...pods(production)];
    expect(all.map(({ name }) => name)).toContain('meshpass-gateway');
    for (const { name, spec } of all) {
      expect(spec.securityContext, name).toMatchObject({
        runAsNonRoot: true,
        seccompProfile: { type: 'RuntimeDefault' },
      });
      for (const container of [...spec.containers, ...(spec.initContainers ?? [])])
        expect(container.securityContext, name).toEqual({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        });
      const kinds = (spec.volumes ?? [])
        .flatMap((volume: object) => Object.keys(volume))
        .filter((key: string) => key !== 'name');
      for (const kind of kinds)
        expect(['configMap', 'secret', 'emptyDir', 'projected', 'persistentVolumeClaim']).toContain(kind);
      expect(spec.hostNetwork ?? spec.hostPID ?? spec.hostIPC).toBeUndefined();
    }
  });

  it('mount secrets so that others than their own user and group cannot read them', () => {
    for (const { name, spec } of [...pods(first), ...pods(production)])
      for (const { secret, projected } of spec.volumes ?? [])
        if (secret || projected) expect((secret ?? projected).defaultMode, name).toBe(0o440);
  });

  it('are selected by labels that no value changes', () => {
    const selectors = (objects: readonly Rendered[]) =>
      objects
        .filter(({ kind }) => kind === 'Deployment')
        .map(({ metadata, spec }) => [metadata.name, spec.selector.matchLabels]);
    const by = (component: string) => ({
      'app.kubernetes.io/name': 'meshpass',
      'app.kubernetes.io/component': component,
    });
    expect(selectors(production)).toEqual(selectors(first));
    expect(selectors(first)).toEqual(['broker', 'edge', 'gateway'].map((name) => [`meshpass-${name}`, by(name)]));
  });

  it('have only flags that `meshpass` has, once each', async () => {
    const { command: serve } = await import('@meshpass/cli/commands/serve');
    const { command: edge } = await import('@meshpass/cli/commands/edge');
    const { longFlag: longOf } = await import('@meshpass/cli/command/flag');
    const known = { 'meshpass-broker': ['serve', serve], 'meshpass-edge': ['edge', edge] } as const;
    for (const objects of [first, production])
      for (const [name, [word, command]] of Object.entries(known)) {
        const [called, ...flags] = flagsOf(objects, name).map((flag) => flag.split('=')[0]!);
        expect(called).toBe(word);
        expect(new Set(flags).size).toBe(flags.length);
        const long = Object.entries(command.flags).map(([flag, definition]) => longOf(flag, definition));
        expect(flags.filter((flag) => !long.includes(flag))).toEqual([]);
      }
  });

  it('run the image that the values name, by digest if it has one', () => {
    const images = (objects: readonly Rendered[]) =>
      new Set(pods(objects).flatMap(({ spec }) => spec.containers.map((c: { image: string }) => c.image)));
    expect(images(first)).toEqual(new Set([`ghcr.io/meshpass/meshpass:${VERSION}`, 'auto']));
    expect(images(production)).toEqual(new Set([`ghcr.io/meshpass/meshpass@sha256:${'0'.repeat(64)}`, 'auto']));
  });
});

describe('ways in', () => {
  it('keep the address of the client, and there are two', () => {
    const open = first.filter(
      ({ kind, spec }) => kind === 'Service' && spec.type !== 'ClusterIP' && spec.clusterIP !== 'None',
    );
    expect(open.map(({ metadata }) => metadata.name)).toEqual(['meshpass-broker', 'meshpass-edge']);
    for (const { spec } of open) {
      expect(spec).toMatchObject({ type: 'LoadBalancer', externalTrafficPolicy: 'Local' });
      expect(spec.ports.map(({ port }: { port: number }) => port)).toEqual([443]);
    }
  });

  it("do not lead to the mesh gateway, nor to the operators' listeners", () => {
    expect(find(first, 'Service', 'meshpass-gateway').spec.type).toBe('ClusterIP');
    for (const name of ['meshpass-broker-operator', 'meshpass-edge-operator'])
      expect(find(first, 'Service', name).spec.clusterIP).toBe('None');
  });

  it('end in the edge, which knows the broker by its public name', () => {
    expect(flagsOf(first, 'meshpass-edge')).toEqual(
      expect.arrayContaining([
        '--broker=https://meshpass-broker.meshpass-system.svc',
        '--broker-name=broker.example.com',
        '--mesh-gateway=meshpass-gateway.meshpass-system.svc:15443',
      ]),
    );
  });
});

describe('network policies', () => {
  const policy = (name: string) => find(first, 'NetworkPolicy', name).spec;
  const allowed = (peer: object) => JSON.stringify(peer);

  it('deny what they do not allow, for every Pod and both directions', () => {
    expect(policy('meshpass-default')).toEqual({
      podSelector: { matchLabels: { 'app.kubernetes.io/name': 'meshpass' } },
      policyTypes: ['Ingress', 'Egress'],
    });
    for (const { name, labels } of pods(first))
      expect(labels, name).toMatchObject({ 'app.kubernetes.io/name': 'meshpass' });
  });

  it('let the edge reach only the broker and the mesh gateway', () => {
    const [dns, ...others] = policy('meshpass-edge').egress;
    expect(dns.ports.map(({ port }: { port: number }) => port)).toEqual([53, 53]);
    expect(
      others.map(({ to, ports }: { to: [{ podSelector: { matchLabels: object } }]; ports: object }) => [
        to[0].podSelector.matchLabels,
        ports,
      ]),
    ).toEqual([
      [expect.objectContaining({ 'app.kubernetes.io/component': 'broker' }), [{ port: 'https', protocol: 'TCP' }]],
      [expect.objectContaining({ 'app.kubernetes.io/component': 'gateway' }), [{ port: 'tls', protocol: 'TCP' }]],
    ]);
  });

  it('let only the edge reach the mesh gateway, which does not leave the cluster', () => {
    const { ingress, egress } = policy('meshpass-gateway');
    const tunnels = ingress.filter(({ ports }: { ports: object }) => allowed(ports).includes('tls'));
    expect(tunnels).toHaveLength(1);
    expect(tunnels[0].from).toEqual([
      { podSelector: { matchLabels: expect.objectContaining({ 'app.kubernetes.io/component': 'edge' }) } },
    ]);
    expect(egress.slice(1)).toEqual([{ to: [{ namespaceSelector: {} }] }]);
  });

  it("let only collectors of metrics reach the operators' listeners", () => {
    for (const name of ['meshpass-broker', 'meshpass-edge']) {
      const ways = policy(name).ingress.filter(({ ports }: { ports: object }) => allowed(ports).includes('operator'));
      expect(ways.map(({ from }: { from: object }) => from)).toEqual([
        [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } } }],
      ]);
    }
  });

  it("keep the broker from Pods if the values have the Pods' addresses", () => {
    const { egress } = find(production, 'NetworkPolicy', 'meshpass-broker').spec;
    expect(egress).toContainEqual({
      to: [
        { ipBlock: { cidr: '0.0.0.0/0', except: ['10.0.0.0/8'] } },
        { ipBlock: { cidr: '::/0', except: ['fd00::/8'] } },
      ],
      ports: [443, 6443].map((port) => ({ port, protocol: 'TCP' })),
    });
  });
});

describe('a declared restore', () => {
  const argsOf = async (acceptRestore: object): Promise<readonly string[]> => {
    const flags = ['--show-only', 'templates/accept-restore.yaml'];
    const [job] = await render(PRODUCTION, { acceptRestore }, flags);
    return job!.spec.template.spec.containers[0].args;
  };

  it.each([
    'INC-7: backup of Monday',
    'backup #12 of Monday',
    'one\n            - --operator-token=/tmp/x',
    '"\'{{ }}',
  ])('states who and why in their own words, regardless of their meaning in YAML: %j', async (text) => {
    expect((await argsOf({ by: text, reason: text })).slice(-3)).toEqual([`--by=${text}`, `--reason=${text}`, '--yes']);
  });

  it('is only a report without a reason', async () => {
    expect((await argsOf({ by: 'olga' })).filter((arg) => /^--(?:by|reason|yes|dry)/.test(arg))).toEqual(['--dry-run']);
  });
});
