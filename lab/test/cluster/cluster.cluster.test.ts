/** The cluster itself: what users of it rely on. */
import { beforeAll, expect, it } from 'vitest';
import { type Cluster, upCluster } from '../../src/cluster/index.ts';
import { standIns } from '../../src/stand-ins.ts';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await upCluster();
  return () => cluster.down();
});

async function must(args: readonly string[], input?: string): Promise<string> {
  const { code, stdout, stderr } = await cluster.kubectl(args, input === undefined ? {} : { input });
  if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** A command in the first container of a Deployment's pod. */
function inPod(namespace: string, name: string, argv: readonly string[]) {
  return cluster.kubectl(['exec', '-n', namespace, `deployment/${name}`, '-c', name, '--', ...argv]);
}

/** A namespace without injection, with a Deployment that answers each HTTP call with the address of its caller. */
async function deployPlain(namespace: string): Promise<() => Promise<unknown>> {
  const program = "require('http').createServer((q,s)=>s.end(q.socket.remoteAddress)).listen(8080,'0.0.0.0')";
  const container = { name: 'app', image: 'lab.test/apps:1', command: ['node', '-e', program] };
  const labels = { app: 'app' };
  const deployment = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'app', namespace },
    spec: {
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          terminationGracePeriodSeconds: 1,
          containers: [{ ...container, readinessProbe: { httpGet: { path: '/', port: 8080 }, periodSeconds: 1 } }],
        },
      },
    },
  };
  await must(['create', 'namespace', namespace]);
  await must(['apply', '-f', '-'], JSON.stringify(deployment));
  await must(['wait', '--for=condition=Available', 'deployment/app', '-n', namespace, '--timeout=120s']);
  return () => must(['delete', 'namespace', namespace, '--wait=false']);
}

const CURL = ['curl', '--silent', '--show-error', '--max-time', '5'];

it('calls go from pod to pod by mutual TLS with the identity of their ServiceAccount, and plain ones are refused', async () => {
  const remove = await deployPlain('plain');
  try {
    const inMesh = await inPod('shop', 'client', [...CURL, 'http://orders.shop:8080/whoami']);
    expect(JSON.parse(inMesh.stdout)).toMatchObject({ principal: 'spiffe://cluster.local/ns/shop/sa/client' });
    const acrossNamespaces = await inPod('shop', 'client', [...CURL, 'http://web.dev/']);
    expect(JSON.parse(acrossNamespaces.stdout)).toMatchObject({ service: 'web.dev' });
    const plain = await inPod('plain', 'app', [...CURL, 'http://orders.shop:8080/whoami']);
    expect(plain).toMatchObject({ code: 56 });
    expect(plain.stderr).toMatch(/reset by peer/i);
  } finally {
    await remove();
  }
});

it('PostgreSQL answers by its name', async () => {
  const query = ['psql', '-h', '/tmp', '-U', 'ledger', '-tAc', 'SELECT count(*) FROM ledger', 'ledger'];
  const { stdout } = await cluster.kubectl([
    'exec',
    '-n',
    'shop',
    'deployment/ledger-db',
    '-c',
    'postgres',
    '--',
    ...query,
  ]);
  expect(stdout.trim()).toBe('100');
});

it('a NetworkPolicy is enforced: only allowed calls get an answer', async () => {
  const remove = [await deployPlain('guarded'), await deployPlain('caller'), await deployPlain('stranger')];
  try {
    await must(['expose', 'deployment', 'app', '--port=8080', '-n', 'guarded']);
    const call = async (from: string) => (await inPod(from, 'app', [...CURL, 'http://app.guarded:8080/'])).code;
    await expect.poll(() => call('stranger'), { timeout: 60_000 }).toBe(0);
    const policy = {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'callers', namespace: 'guarded' },
      spec: {
        podSelector: {},
        policyTypes: ['Ingress'],
        ingress: [{ from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'caller' } } }] }],
      },
    };
    await must(['apply', '-f', '-'], JSON.stringify(policy));
    await expect.poll(() => call('stranger'), { timeout: 60_000 }).not.toBe(0);
    expect(await call('caller')).toBe(0);
    const noEgress = {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'no-way-out', namespace: 'caller' },
      spec: { podSelector: {}, policyTypes: ['Egress'] },
    };
    await must(['apply', '-f', '-'], JSON.stringify(noEgress));
    await expect.poll(() => call('caller'), { timeout: 60_000 }).not.toBe(0);
    await must(['delete', 'networkpolicy', 'no-way-out', '-n', 'caller']);
    await expect.poll(() => call('caller'), { timeout: 60_000 }).toBe(0);
  } finally {
    for (const one of remove) await one();
  }
});

it('a LoadBalancer is reached from the internet by name, and sees the client with externalTrafficPolicy Local', async () => {
  const remove = await deployPlain('front');
  try {
    for (const policy of ['Local', 'Cluster']) {
      const name = policy.toLowerCase();
      const annotations = { 'external-dns.alpha.kubernetes.io/hostname': `${name}.front.test` };
      const service = {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name, namespace: 'front', annotations },
        spec: {
          type: 'LoadBalancer',
          externalTrafficPolicy: policy,
          selector: { app: 'app' },
          ports: [{ port: 80, targetPort: 8080 }],
        },
      };
      await must(['apply', '-f', '-'], JSON.stringify(service));
    }
    const fromWorkspace = async (name: string) =>
      (await cluster.exec('workspace', [...CURL, `http://${name}.front.test/`])).stdout;
    await expect.poll(() => fromWorkspace('local'), { timeout: 60_000 }).toBe(cluster.hosts.workspace!.ip);
    await expect.poll(() => fromWorkspace('cluster'), { timeout: 60_000 }).not.toBe('');
    expect(await fromWorkspace('cluster')).not.toBe(cluster.hosts.workspace!.ip);
    // Also from a pod.
    const fromPod = await inPod('front', 'app', [...CURL, 'http://local.front.test/']);
    expect(fromPod.code).toBe(0);
  } finally {
    await remove();
  }
});

it('no other part of the cluster is open to the internet', async () => {
  const remove = await deployPlain('closed');
  try {
    await must([
      'expose',
      'deployment',
      'app',
      '--type=LoadBalancer',
      '--port=80',
      '--target-port=8080',
      '-n',
      'closed',
    ]);
    const addressOf = ['get', 'service', 'app', '-n', 'closed', '-o', 'jsonpath={.status.loadBalancer.ingress[0].ip}'];
    await expect.poll(() => must(addressOf), { timeout: 60_000 }).toMatch(/^203\.0\.113\./);
    const balancer = await must(addressOf);
    const podIp = (await must(['get', 'pods', '-n', 'closed', '-o', 'jsonpath={.items[0].status.podIP}'])).trim();
    // A workspace whose root user adds routes of his own.
    for (const range of ['10.244.0.0/16', '10.96.0.0/16'])
      await cluster.exec('workspace', ['ip', 'route', 'replace', range, 'via', '203.0.113.2']);
    const reach = async (target: string) =>
      (await cluster.exec('workspace', ['curl', '-sk', '--max-time', '2', `http://${target}/`])).code;
    await expect.poll(() => reach(balancer), { timeout: 60_000 }).toBe(0);
    for (const target of [
      `${balancer}:6443`,
      `${balancer}:10250`,
      '203.0.113.2:6443',
      '203.0.113.2:10250',
      `${podIp}:8080`,
      '10.96.0.1:443',
    ])
      expect([target, await reach(target)]).toEqual([target, 28]);
  } finally {
    await remove();
  }
});

it('pods and the workspace resolve the stand-ins by name, and tests can control them', async () => {
  const fromWorkspace = await cluster.exec('workspace', [...CURL, 'https://api.github.test/meta']);
  expect(JSON.parse(fromWorkspace.stdout)).toHaveProperty('api');
  const fromPod = await inPod('shop', 'client', [
    ...CURL,
    '--insecure',
    'https://idp.test:8443/.well-known/openid-configuration',
  ]);
  expect(JSON.parse(fromPod.stdout)).toMatchObject({ issuer: 'https://idp.test:8443' });
  // Forwarded ports are on port 443, as at GitHub.
  const forwarded = await cluster.exec('workspace', [
    ...CURL,
    '-o',
    '/dev/null',
    'https://some-codespace-8080.app.github.dev/',
  ]);
  expect(forwarded.code).toBe(0);
  expect(await standIns(cluster).github.app()).toHaveProperty('id');
});

it('a claim gets a disk that belongs to the group of its pod, keeps its data, and is deleted with its claim', async () => {
  await must(['create', 'namespace', 'disks']);
  try {
    const claim = {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'data', namespace: 'disks' },
      spec: { accessModes: ['ReadWriteOncePod'], resources: { requests: { storage: '1Gi' } } },
    };
    await must(['apply', '-f', '-'], JSON.stringify(claim));
    const run = async (name: string, command: string): Promise<string> => {
      const pod = {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, namespace: 'disks' },
        spec: {
          restartPolicy: 'Never',
          securityContext: { runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532 },
          containers: [
            {
              name: 'app',
              image: 'lab.test/apps:1',
              command: ['sh', '-c', command],
              volumeMounts: [{ name: 'data', mountPath: '/data' }],
            },
          ],
          volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'data' } }],
        },
      };
      await must(['apply', '-f', '-'], JSON.stringify(pod));
      const phase = ['get', 'pod', name, '-n', 'disks', '-o', 'jsonpath={.status.phase}'];
      await expect.poll(() => must(phase), { timeout: 60_000 }).toBe('Succeeded');
      return must(['logs', name, '-n', 'disks']);
    };
    await run('writer', 'echo kept >/data/file');
    expect(await run('reader', 'cat /data/file')).toBe('kept\n');
    await must(['delete', 'pod', 'writer', 'reader', '-n', 'disks']);
    await must(['delete', 'pvc', 'data', '-n', 'disks']);
    await expect.poll(() => must(['get', 'pv', '-o', 'name']), { timeout: 60_000 }).not.toContain('disk-');
  } finally {
    await must(['delete', 'namespace', 'disks', '--wait=false']);
  }
});

it('Kubernetes reports its version, which charts ask for', async () => {
  const version = JSON.parse(await must(['version', '-o', 'json'])) as Record<string, { gitVersion: string }>;
  expect(version.serverVersion!.gitVersion).toBe(cluster.versions.kubernetes);
  expect(version.clientVersion!.gitVersion).toBe(cluster.versions.kubernetes);
});

it('helm installs a chart, and the next up restarts a killed process of the node', async () => {
  const { stdout } = await cluster.helm(['list', '--all-namespaces', '--output', 'json']);
  expect((JSON.parse(stdout) as { name: string }[]).map(({ name }) => name).sort()).toEqual(['istio-base', 'istiod']);
  await cluster.kill('kube-scheduler');
  expect(cluster.running('kube-scheduler')).toBe(false);
  const again = await upCluster();
  expect(again.running('kube-scheduler')).toBe(true);
  await again.down();
});
