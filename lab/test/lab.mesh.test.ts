import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findLab, type Lab, LabError, upLab } from '../src/index.ts';
import { run } from '../src/run.ts';

/** The first start on a machine builds Istio and Kubernetes. */
const BUILD_MS = 30 * 60_000;
const MINUTE_MS = 60_000;
const NAME = 'labtest';

/** Everything of a lab that the machine could still have. */
async function traces(name: string, link: string): Promise<string[]> {
  const links = (await run(['ip', '-brief', 'link'])).stdout.split('\n').map((line) => line.split(/[@\s]/)[0] ?? '');
  const commands = readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map((pid) => ({ pid, link: `/proc/${pid}/cwd` }));
  const inside = await Promise.all(commands.map(async ({ link: cwd }) => (await run(['readlink', cwd])).stdout.trim()));
  const entries = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : []);
  return [
    ...entries('/run/netns').filter((one) => one.startsWith(`mp-${name}-`)),
    ...entries('/etc/netns').filter((one) => one.startsWith(`mp-${name}-`)),
    ...links.filter((one) => one === link),
    ...inside.filter((cwd) => cwd.startsWith(`/var/lib/meshpass-lab/${name}/`)),
    ...entries('/var/lib/meshpass-lab').filter((one) => one === name),
  ];
}

async function gone(name: string, link: string): Promise<string[]> {
  let left = await traces(name, link);
  for (const end = Date.now() + MINUTE_MS; left.length > 0 && Date.now() < end; left = await traces(name, link)) {
    await sleep(250);
  }
  return left;
}

describe('a running lab', () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await upLab({ name: NAME });
  }, BUILD_MS);
  afterAll(async () => {
    await lab?.down();
  }, MINUTE_MS);

  const curl = async (host: string, ...args: string[]): Promise<{ status: number; body: string; exit: number }> => {
    const { code, stdout } = await lab.exec(host, ['curl', '-sS', '-m', '5', '-w', '\n%{http_code}', ...args]);
    const cut = stdout.lastIndexOf('\n');
    return { status: Number(stdout.slice(cut + 1)), body: stdout.slice(0, cut), exit: code };
  };

  it('has every unit running', () => {
    expect(lab.units().filter((unit) => !lab.running(unit))).toEqual([]);
    expect(lab.units()).toEqual(expect.arrayContaining(['etcd', 'istiod', 'gateway', 'sidecar-orders', 'postgres']));
  });

  it('carries a call inside the mesh under mutual TLS: the service gets the principal of its caller', async () => {
    const { status, body } = await curl('client', 'http://orders.shop:8080/whoami');
    expect(status).toBe(200);
    expect(JSON.parse(body)).toMatchObject({ principal: 'spiffe://cluster.local/ns/shop/sa/client', identity: {} });
  });

  it('carries raw TCP to a real PostgreSQL', async () => {
    const query = 'select count(*) from ledger';
    const { stdout } = await lab.exec('client', [
      'psql',
      '-h',
      'ledger-db.shop',
      '-U',
      'ledger',
      '-Atc',
      query,
      'ledger',
    ]);
    expect(stdout.trim()).toBe('100');
  });

  it('refuses plain text from outside the mesh', async () => {
    expect((await curl('meshpass', `http://${lab.hosts.orders?.ip}:8080/orders/1`)).exit).not.toBe(0);
  });

  it('sends as many bytes as asked', async () => {
    const { stdout } = await lab.exec('client', [
      'curl',
      '-s',
      '-o',
      '/dev/null',
      '-w',
      '%{size_download}',
      'http://orders.shop:8080/bytes/3000001',
    ]);
    expect(stdout).toBe('3000001');
  });

  it('lets the workspace reach only host meshpass', async () => {
    const targets = [
      ...Object.values(lab.hosts)
        .filter((host) => host.network === 'cluster')
        .map((host) => host.ip),
      `${lab.hosts.control?.ip.replace(/\d+$/, '1')}`,
      '10.96.1.10',
      '192.0.2.1',
    ];
    const script = `const net = require('node:net');
      const dial = (host) => new Promise((done) => {
        const socket = net.connect({ host, port: 22, timeout: 2000 }, () => done('open'));
        socket.on('timeout', () => done('timeout')).on('error', (error) => done(error.code));
      });
      Promise.all(${JSON.stringify(targets)}.map(dial)).then((all) => { console.log(all.join()); process.exit(); });`;
    const { stdout } = await lab.exec('workspace', ['node', '-e', script]);
    expect(new Set(stdout.trim().split(','))).toEqual(new Set(['ENETUNREACH']));

    const server = `require('node:http').createServer((q, r) => r.end('here')).listen(8099, () => console.log('up'))`;
    const child = lab.spawn('meshpass', ['node', '-e', server]);
    await new Promise((resolve) => child.stdout?.once('data', resolve));
    expect((await curl('workspace', 'http://broker.meshpass.test:8099/')).body).toBe('here');
    child.kill('SIGKILL');
  });

  it('does not forward from the internet to the cluster through host meshpass', async () => {
    const control = lab.hosts.control?.ip ?? '';
    await lab.exec('workspace', ['ip', 'route', 'add', `${control}/32`, 'via', '203.0.113.1']);
    const { exit } = await curl('workspace', '-k', `https://${control}:6443/healthz`);
    await lab.exec('workspace', ['ip', 'route', 'del', `${control}/32`]);
    expect(exit).not.toBe(0);
    expect((await curl('meshpass', '-k', `https://${control}:6443/healthz`)).body).toContain('ok');
  });

  it('does not let the workspace reach the cluster side of host meshpass, even by a route of its own', async () => {
    const inside = lab.hosts.meshpass?.ip ?? '';
    const server = `require('node:http').createServer((q, r) => r.end('here')).listen(8098, () => console.log('up'))`;
    const child = lab.spawn('meshpass', ['node', '-e', server]);
    await new Promise((resolve) => child.stdout?.once('data', resolve));
    await lab.exec('workspace', ['ip', 'route', 'add', `${inside}/32`, 'via', '203.0.113.1']);
    const { exit } = await curl('workspace', '-m', '2', `http://${inside}:8098/`);
    await lab.exec('workspace', ['ip', 'route', 'del', `${inside}/32`]);
    expect(exit).not.toBe(0);
    expect((await curl('github', `http://${inside}:8098/`)).body).toBe('here');
    child.kill('SIGKILL');
  });

  it('gives each host its own /etc/hosts, writable in place', async () => {
    await lab.exec('workspace', ['sh', '-c', 'echo 127.0.0.9 only-here >>/etc/hosts']);
    expect((await lab.exec('workspace', ['getent', 'hosts', 'only-here'])).stdout).toContain('127.0.0.9');
    expect((await lab.exec('client', ['getent', 'hosts', 'only-here'])).code).not.toBe(0);
    expect((await run(['getent', 'hosts', 'only-here'])).code).not.toBe(0);
  });

  it('is reached from this process: the mesh gateway listens', async () => {
    const [host, port] = lab.istiodAddress.split(':');
    await new Promise<void>((resolve, reject) => {
      const socket = connect({ host: host!, port: Number(port) }, () => {
        socket.destroy();
        resolve();
      });
      socket.on('error', reject);
    });
    expect(lab.rootCaPem()).toContain('BEGIN CERTIFICATE');
  });

  it(
    'deletes namespaces to the end, as a real cluster does',
    async () => {
      const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'short-lived' } };
      const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'one', namespace: 'short-lived' } };
      await lab.kubernetes.apply(namespace);
      await lab.kubernetes.apply(account);
      await lab.kubernetes.remove(namespace);
      const exists = (): Promise<boolean> =>
        lab.kubernetes.call('GET', '/api/v1/namespaces/short-lived').then(
          () => true,
          () => false,
        );
      for (const end = Date.now() + MINUTE_MS; Date.now() < end && (await exists()); ) await sleep(100);
      expect(await exists()).toBe(false);
    },
    MINUTE_MS,
  );

  it(
    'kills and restarts its parts',
    async () => {
      await lab.kill('sidecar-orders');
      expect(lab.running('sidecar-orders')).toBe(false);
      expect((await curl('client', 'http://orders.shop:8080/orders/1')).status).toBe(503);
      await lab.restart('sidecar-orders');
      expect((await curl('client', 'http://orders.shop:8080/orders/1')).status).toBe(200);
    },
    MINUTE_MS,
  );

  it(
    'restarts dead processes, and adds a host, at the next up',
    async () => {
      await lab.kill('postgres');
      const again = await upLab({ name: NAME, with: ['workspace-2', 'stock'] });
      expect(again.running('postgres')).toBe(true);
      const reply = await again.exec('stock', ['curl', '-s', 'http://orders.shop:8080/whoami']);
      expect(JSON.parse(reply.stdout)).toMatchObject({ principal: 'spiffe://cluster.local/ns/dev/sa/stock' });
      expect((await again.exec('workspace-2', ['ip', '-brief', 'addr', 'show', 'eth0'])).stdout).toContain(
        '203.0.113.12/24',
      );
      await again.down();
      expect(findLab(NAME).running('istiod')).toBe(true); // the first user still holds it
    },
    MINUTE_MS,
  );

  it(
    'serves a Gateway of the Gateway API, and Ingresses of class istio',
    async () => {
      const again = await upLab({ name: NAME, with: ['ingress', 'gateway-api'], gatewayApi: true });
      const metadata = { name: 'orders', namespace: 'shop' };
      const gateway = {
        gatewayClassName: 'istio',
        listeners: [{ name: 'http', port: 80, protocol: 'HTTP' }],
      };
      const route = {
        parentRefs: [{ name: 'public' }],
        hostnames: ['route.example.com'],
        rules: [{ backendRefs: [{ name: 'orders', port: 8080 }] }],
      };
      const service = { name: 'orders', port: { number: 8080 } };
      const paths = [{ path: '/', pathType: 'Prefix', backend: { service } }];
      const ingress = { ingressClassName: 'istio', rules: [{ host: 'ingress.example.com', http: { paths } }] };
      const group = 'gateway.networking.k8s.io/v1';
      await again.kubernetes.apply(
        { apiVersion: group, kind: 'Gateway', metadata: { name: 'public', namespace: 'shop' }, spec: gateway },
        { apiVersion: group, kind: 'HTTPRoute', metadata, spec: route },
        {
          apiVersion: 'networking.k8s.io/v1',
          kind: 'IngressClass',
          metadata: { name: 'istio' },
          spec: { controller: 'istio.io/ingress-controller' },
        },
        { apiVersion: 'networking.k8s.io/v1', kind: 'Ingress', metadata, spec: ingress },
      );
      const ask = async (proxy: string, host: string): Promise<number> =>
        (await curl('meshpass', '-H', `host: ${host}`, `http://${again.hosts[proxy]!.ip}/orders/1`)).status;
      for (const [proxy, host] of [
        ['gateway-api', 'route.example.com'],
        ['ingress', 'ingress.example.com'],
      ] as const) {
        const end = Date.now() + MINUTE_MS / 2;
        while (Date.now() < end && (await ask(proxy, host)) !== 200) await sleep(100);
        expect(await ask(proxy, host)).toBe(200);
        expect(await ask(proxy, 'other.example.com')).toBe(404);
      }
      await again.down();
    },
    MINUTE_MS,
  );
});

describe('the end of a lab', () => {
  it(
    'ends with the process that started it, even when that is killed, and leaves nothing',
    async () => {
      const rules = (await run(['iptables-save'])).stdout.replaceAll(/\[\d+:\d+\]|^#.*$/gm, '');
      const index = fileURLToPath(new URL('../src/index.ts', import.meta.url));
      const script = `const { upLab } = await import(${JSON.stringify(index)});
      const lab = await upLab({ name: 'labcrash' });
      lab.spawn('workspace', ['sleep', '1000']);
      console.log(lab.hosts.control.ip);
      setInterval(() => {}, 1000);`;
      const user = spawn(process.execPath, ['--input-type=module', '-e', script], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const address = await new Promise<string>((resolve) => user.stdout.once('data', (data) => resolve(String(data))));
      const link = `mp${address.split('.')[2]}`;
      expect((await traces('labcrash', link)).length).toBeGreaterThan(10);
      user.kill('SIGKILL');
      expect(await gone('labcrash', link)).toEqual([]);
      expect((await run(['iptables-save'])).stdout.replaceAll(/\[\d+:\d+\]|^#.*$/gm, '')).toBe(rules);
      expect(() => findLab('labcrash')).toThrow(LabError);
    },
    BUILD_MS,
  );
});
