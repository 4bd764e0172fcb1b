/** Destinations that a workspace can open a connection to: only the broker and the edge. */
import type { Lab } from '@meshpass/lab';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DataPath, openDataPath } from '../mesh.ts';

let dataPath: DataPath;
let lab: Lab;
beforeAll(async () => {
  dataPath = await openDataPath();
  lab = dataPath.lab;
});
afterAll(() => dataPath?.close());

describe('a workspace reaches the broker and the edge, and', () => {
  const probe = async (targets: Record<string, string>): Promise<Record<string, string>> => {
    const input = JSON.stringify(targets);
    const { stdout, stderr } = await lab.exec('workspace', ['node', '-e', PROBE], { input });
    expect(stderr).toBe('');
    return JSON.parse(stdout);
  };
  const inCluster = (): Record<string, string> => {
    const at = (host: string, port: number) => `${lab.hosts[host]!.ip}:${port}`;
    return {
      'the mesh gateway': at('gateway', 15443),
      "istiod's CA": at('control', 15012),
      'istiod, plain': at('control', 15010),
      'the API server': at('control', 6443),
      etcd: at('control', 2379),
      'a pod': at('orders', 8080),
      'a sidecar': at('orders', 15006),
      'the database': at('ledger-db', 5432),
      GitHub: at('github', 443),
      'a Service': '10.96.1.10:8080',
    };
  };

  it('not the cluster, the operator listener, or another workspace', async () => {
    const found = await probe({
      broker: 'broker.meshpass.test:8443',
      edge: 'edge.meshpass.test:443',
      ...inCluster(),
      'the operator listener': 'broker.meshpass.test:9090',
      'another workspace': `${lab.hosts['workspace-2']!.ip}:22`,
    });
    const { broker, edge, ...others } = found;
    expect({ broker, edge }).toEqual({ broker: 'open', edge: 'open' });
    for (const [name, state] of Object.entries(others)) expect(state, name).not.toBe('open');
  });

  it('not with a route of their own either', async () => {
    const route = ['10.0.0.0/8', 'via', '203.0.113.1'];
    expect((await lab.exec('workspace', ['ip', 'route', 'add', ...route])).code).toBe(0);
    try {
      for (const [name, state] of Object.entries(await probe(inCluster()))) expect(state, name).not.toBe('open');
    } finally {
      await lab.exec('workspace', ['ip', 'route', 'del', ...route]);
    }
  });
});

const PROBE = `
const targets = Object.entries(JSON.parse(require('fs').readFileSync(0, 'utf8')));
const look = ([name, target]) => new Promise((resolve) => {
  const [host, port] = target.split(':');
  const socket = require('net').connect({ host, port: Number(port) });
  const end = (state) => { socket.destroy(); resolve([name, state]); };
  socket.on('connect', () => end('open')).on('error', (error) => end(error.code));
  setTimeout(end, 1500, 'no answer');
});
Promise.all(targets.map(look)).then((found) => console.log(JSON.stringify(Object.fromEntries(found))));
`;
