/**
 * Sends each spelling of the table in docs/testing/denied-paths.md to a real Envoy that denies a path below an allowed
 * one, and compares what Envoy makes of a path with the evaluator.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { normalizePath } from '@meshpass/analysis/evaluate';
import { ensureEnvoy } from '@meshpass/lab/install/tools';
import { afterAll, beforeAll, expect, it } from 'vitest';

const FILTERS = 'type.googleapis.com/envoy.extensions.filters';
/** Sidecar settings that istiod writes for `meshConfig.pathNormalization`, as test/policy/evaluate.mesh.test.ts shows. */
const NORMALIZATIONS = {
  BASE: { normalize_path: true },
  MERGE_SLASHES: { normalize_path: true, merge_slashes: true },
  DECODE_AND_MERGE_SLASHES: {
    normalize_path: true,
    merge_slashes: true,
    path_with_escaped_slashes_action: 'UNESCAPE_AND_FORWARD',
  },
};
type Normalization = keyof typeof NORMALIZATIONS;

const page = readFileSync(new URL('../../docs/testing/denied-paths.md', import.meta.url), 'utf8');
const table = /^\| Request \| (.+) \|\n\|[ |-]+\|\n((?:\|.*\|\n)+)/m.exec(page);
const columns = (table?.[1] ?? '').split(' | ').map((column) => column.replaceAll('`', '')) as Normalization[];
const rows = (table?.[2] ?? '')
  .trimEnd()
  .split('\n')
  .map((row) => row.slice(2, -2).split(' | '))
  .map(([path, ...answers]) => [path!.replaceAll('`', ''), answers] as const);

let folder: string;
let envoy: ChildProcess | undefined;
let ports: ReadonlyMap<Normalization, number>;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'meshpass-denied-paths-'));
  const file = join(folder, 'envoy.json');
  const admin = join(folder, 'admin');
  writeFileSync(file, JSON.stringify(bootstrap()));
  envoy = spawn(await ensureEnvoy(() => {}), ['-c', file, '--use-dynamic-base-id', '--admin-address-path', admin], {
    stdio: 'ignore',
  });
  const listeners = await listenersAt(admin);
  ports = new Map(
    Object.keys(NORMALIZATIONS).map((name) => {
      const { local_address: address } = listeners.find((one) => one.name === name)!;
      return [name as Normalization, address.socket_address.port_value];
    }),
  );
}, 60_000);
afterAll(() => {
  envoy?.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

it('the table has each normalisation, and the denied path itself', () => {
  expect(columns).toEqual(Object.keys(NORMALIZATIONS));
  expect(rows.map(([path]) => path)).toContain('/orders/internal/1');
});

it.each(rows)('%s is answered as in the table', async (path, answers) => {
  const found = await Promise.all(columns.map((name) => answer(name, path)));
  expect(found.map(({ status }) => (status === 200 ? '**passes**' : `refused (${status})`))).toEqual(answers);
});

const DOTS = [
  '..;/c',
  '..;x=1;y/c',
  '..;%2Fc',
  '..;\\c',
  '.;\\c',
  '..;',
  '.;/c?q=..;/',
  '...;/c',
  '%2e%2e;/c',
  '.%2e;/c',
  'b;../c',
  '..;/..;/d/c',
];

it.each([...rows.map(([path]) => path), ...DOTS.map((end) => `/orders/x/${end}`), '/orders/x\\..;y/c'])(
  'evaluator and Envoy agree on %s',
  async (path) => {
    for (const name of columns) {
      const { status, seen } = await answer(name, path);
      if (status === 200) expect([name, normalizePath(path, name)]).toEqual([name, seen]);
    }
  },
);

interface Answer {
  readonly status: number | undefined;
  /** Path after Envoy has normalised it. */
  readonly seen: unknown;
}

function answer(name: Normalization, path: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port: ports.get(name)!, path }, (response) => {
      const { statusCode: status, headers } = response.resume();
      resolve({ status, seen: headers['x-path'] });
    })
      .on('error', reject)
      .end();
  });
}

interface Listener {
  readonly name: string;
  readonly local_address: { readonly socket_address: { readonly port_value: number } };
}

async function listenersAt(admin: string): Promise<readonly Listener[]> {
  for (;;) {
    try {
      const address = readFileSync(admin, 'utf8');
      const response = await fetch(`http://${address}/listeners?format=json`);
      const { listener_statuses: found = [] } = (await response.json()) as { listener_statuses?: Listener[] };
      if (found.length === Object.keys(NORMALIZATIONS).length) return found;
    } catch {
      // It has not started yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function bootstrap(): unknown {
  const loopback = { socket_address: { address: '127.0.0.1', port_value: 0 } };
  return {
    admin: { address: loopback },
    static_resources: {
      listeners: Object.entries(NORMALIZATIONS).map(([name, normalization]) => ({
        name,
        address: loopback,
        filter_chains: [
          {
            filters: [
              {
                name: 'envoy.filters.network.http_connection_manager',
                typed_config: {
                  '@type': `${FILTERS}.network.http_connection_manager.v3.HttpConnectionManager`,
                  stat_prefix: name,
                  ...normalization,
                  http_filters: [...rules(), filter('router', {})],
                  route_config: {
                    virtual_hosts: [
                      {
                        name: 'service',
                        domains: ['*'],
                        routes: [{ match: { prefix: '' }, direct_response: { status: 200 } }],
                        response_headers_to_add: [{ header: { key: 'x-path', value: '%REQ(:PATH)%' } }],
                      },
                    ],
                  },
                },
              },
            ],
          },
        ],
      })),
    },
  };
}

/** RBAC rules that istiod writes for `paths` of a DENY and of an ALLOW. */
function rules(): unknown[] {
  const template = {
    uri_template: {
      name: 'uri-template',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig',
        path_template: '/orders/internal/**',
      },
    },
  };
  const policy = (permissions: unknown[]) => ({ policies: { one: { permissions, principals: [{ any: true }] } } });
  const denied = [{ url_path: { path: { exact: '/orders/internal' } } }, template];
  return [
    filter('rbac', { rules: { action: 'DENY', ...policy(denied) } }),
    filter('rbac', { rules: { action: 'ALLOW', ...policy([{ url_path: { path: { prefix: '/orders/' } } }]) } }),
  ];
}

function filter(name: 'rbac' | 'router', config: object): unknown {
  const type = { rbac: 'rbac.v3.RBAC', router: 'router.v3.Router' }[name];
  return { name: `envoy.filters.http.${name}`, typed_config: { '@type': `${FILTERS}.http.${type}`, ...config } };
}
