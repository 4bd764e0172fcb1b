/** `meshpass explain --patch`: git applies the proposed patch, which allows the call and lists what else it widens. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { serveControl } from '@meshpass/agent/control/control';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { parseWantedCall } from '../../src/explain/call.ts';
import { explainCall } from '../../src/explain/explain-call.ts';
import { proposePatch, readAccessFiles } from '../../src/explain/patch.ts';
import { run } from '../../src/program.ts';
import { known, service } from './known.ts';

const ACCESS = `trust: { codespaces: { organization: acme } }
grants:
  dev: # everybody
    who: [{ team: acme/payments }]
    to:
      - service: orders.shop
        ports: [8080, 9090]
        allow:
          - GET /orders/* # reads
          - { operation: POST /refunds, require: { department: finance } }
        deny: [TRACE /*]
`;
const ORDERS = service({ allow: ['GET /orders/*'] });

let repository: string;
beforeEach(() => {
  repository = mkdtempSync(join(tmpdir(), 'meshpass-patch-'));
  execFileSync('git', ['init', '-q'], { cwd: repository });
  mkdirSync(join(repository, 'mesh access'));
});
afterEach(() => rmSync(repository, { recursive: true, force: true }));

const fileNamed = (name: string) => join(repository, 'mesh access', name);
function propose(
  url: string,
  method: string,
  more: { text?: string; answer?: ReturnType<typeof known>; grant?: string } = {},
) {
  const file = fileNamed('access.yaml');
  writeFileSync(file, more.text ?? ACCESS);
  const files = readAccessFiles(file, '--access');
  return proposePatch({
    call: parseWantedCall(url, method, []),
    known: more.answer ?? known([ORDERS]),
    files,
    grant: more.grant,
  });
}
const apply = (diff: string) => execFileSync('git', ['apply', '-'], { cwd: repository, input: diff });
const verdict = async (url: string, method: string, answer = known([ORDERS])) => {
  const { access } = readAccessFiles(fileNamed('access.yaml'), '--access');
  const explained = await explainCall({
    call: parseWantedCall(url, method, []),
    known: answer,
    access,
    resolves: async () => false,
  });
  return explained.verdict;
};

describe('a patch', () => {
  it('is one line that git applies, after which the call is allowed; everything else stays', async () => {
    const url = 'http://orders.shop:8080/orders/1?reason=x';
    const { diff, grant, widens, holders, assumed } = propose(url, 'DELETE');
    expect(diff).toBe(`--- a/mesh access/access.yaml\t
+++ b/mesh access/access.yaml\t
@@ -8,4 +8,5 @@
         allow:
           - GET /orders/* # reads
           - { operation: POST /refunds, require: { department: finance } }
+          - DELETE /orders/1
         deny: [TRACE /*]
`);
    expect(await verdict(url, 'DELETE')).toBe('refused');
    apply(diff);
    expect(await verdict(url, 'DELETE')).toBe('allowed');
    expect(readFileSync(fileNamed('access.yaml'), 'utf8').replace('          - DELETE /orders/1\n', '')).toBe(ACCESS);
    expect({ grant, holders, assumed }).toEqual({ grant: 'dev', holders: ['team acme/payments'], assumed: [] });
    // The entry has two ports: the patch widens both, and reports that.
    expect(widens).toEqual(['DELETE /orders/1 on orders.shop:8080', 'DELETE /orders/1 on orders.shop:9090']);
  });

  it('adds an entry for a service that no grant has, and lists its assumptions', () => {
    const { diff, widens, assumed } = propose('http://ledger.shop:80/entries', 'GET');
    expect(diff).toContain('+      - service: ledger.shop\n+        port: 80\n+        allow: [GET /entries]\n');
    expect(widens).toEqual(['GET /entries on ledger.shop:80']);
    expect(assumed).toEqual(['ledger.shop.svc.cluster.local:80 is a service of the mesh, and is HTTP']);
    apply(diff);
  });

  it('adds a TCP port as a whole', () => {
    const { diff, widens } = propose('tcp://ledger-db.shop:5432', 'GET');
    expect(diff).toContain('+      - service: ledger-db.shop\n+        port: 5432\n');
    expect(widens).toEqual(['connections on ledger-db.shop:5432']);
  });

  it('changes the included file that has the grant', () => {
    const [, grants] = ACCESS.split(/(?=^grants:)/m);
    writeFileSync(fileNamed('dev.yaml'), grants!);
    const text = 'include: [dev.yaml]\ntrust: { codespaces: { organization: acme } }\ngrants: {}\n';
    const { diff } = propose('http://orders.shop:8080/orders/1', 'PUT', { text });
    expect(diff).toMatch(/^--- a\/mesh access\/dev\.yaml\t\n/);
    apply(diff);
    expect(readFileSync(fileNamed('dev.yaml'), 'utf8')).toContain('- PUT /orders/1\n');
  });

  it('reports that it widens the ports that the same entry names', () => {
    const text = ACCESS.replace('[8080, 9090]', '[8080, http]');
    const { widens } = propose('http://orders.shop:8080/orders/1', 'DELETE', { text });
    expect(widens).toEqual([
      'DELETE /orders/1 on orders.shop:8080',
      'the same on port "http" of orders.shop.svc.cluster.local',
    ]);
  });
});

describe('no patch is proposed', () => {
  const selecting = (selects: string, says: string) =>
    `${ACCESS.slice(0, ACCESS.indexOf('      - service'))}      - { namespace: "sh*", ${selects}, port: 8080, allow: [GET /orders/*], ${says} }\n`;
  const two = `${ACCESS}  ops: { who: [{ user: bob }], to: [{ service: orders.shop, port: 8080, allow: [GET /ops] }] }\n`;
  const both = known([ORDERS, service({ grant: 'ops', allow: ['GET /ops'] })]);
  it.each([
    [
      'for what the file denies',
      'http://orders.shop:8080/orders/1',
      'TRACE',
      {},
      /access.yaml:6:9: grant dev denies TRACE \/\*/,
    ],
    [
      'around a demanded claim',
      'http://orders.shop:8080/refunds',
      'POST',
      {},
      /requires claims for POST \/refunds \(department\)/,
    ],
    ...[
      [
        'labels that denies it',
        'labels: { app: orders }',
        'deny: [POST /refunds]',
        /dev denies POST \/refunds on services that it selects/,
      ],
      [
        'a pattern that demands a claim',
        'service: orders',
        'require: { department: finance }',
        /dev requires claims for POST \/refunds on/,
      ],
    ].map(
      ([by, selects, says, why]) =>
        [
          `around an entry by ${by}`,
          ...['http://orders.shop:8080/refunds', 'POST'],
          { text: selecting(String(selects), String(says)) },
          why,
        ] as [string, string, string, object, RegExp],
    ),
    ['for what the file allows', 'http://orders.shop:8080/orders/1', 'GET', {}, /already allows GET \/orders\/1/],
    ['for a path that is no exact one', 'http://orders.shop:8080/a*', 'PUT', {}, /exact path/],
    ['for a path that no access file can name', 'http://orders.shop:8080/%E4', 'PUT', {}, /cannot be written/],
    [
      'between several grants',
      'http://orders.shop:8080/orders/1',
      'PUT',
      { text: two, answer: both },
      /--grant: dev, ops/,
    ],
    [
      'for a grant of another person',
      'http://orders.shop:8080/orders/1',
      'PUT',
      { text: two, grant: 'ops' },
      /not one of this session's grants/,
    ],
    [
      'where the file has no grant of the session',
      'http://orders.shop:8080/orders/1',
      'PUT',
      { text: ACCESS.replace('dev:', 'x:') },
      /none of this session's grants/,
    ],
    ['for a name of no service', 'http://example/', 'GET', {}, /not a service name/],
  ])('%s', (_, url, method, more, message) => {
    expect(() => propose(url, method, more)).toThrow(message);
  });

  it.each([
    [
      {
        kind: 'answer',
        status: 403,
        refusal: {
          code: 'agent_route_not_granted',
          description: 'VirtualService shop/x leads to a.b:80, which grant dev does not allow.',
        },
      },
      /a.b:80.*Explain that service instead.* --access FILE --patch/,
    ],
    [
      { kind: 'forward', rule: 'shop/x', to: [{ host: 'a.b.svc.cluster.local', port: 80 }] },
      /VirtualService shop\/x forwards to a.b.svc.cluster.local:80, whose rules decide/,
    ],
    [{ kind: 'forward', rule: 'shop/x', to: [ORDERS], path: '/v2' }, /with the path \/v2, whose rules decide/],
  ])('if a VirtualService leads elsewhere', (route, message) => {
    const answer = known([ORDERS], { routes: { dev: { notes: [], ...route } as never } });
    expect(() => propose('http://orders.shop:8080/orders/1', 'PUT', { answer })).toThrow(message);
  });

  it('but for one that is named among several', () => {
    const { grant } = propose('http://orders.shop:8080/orders/1', 'PUT', { text: two, answer: both, grant: 'ops' });
    expect(grant).toBe('ops');
  });
});

it('the command prints the diff as it is: tabs after names with spaces, and empty lines of the context', async () => {
  const text = `${ACCESS}\n\n`;
  const { diff } = propose('http://orders.shop:8080/orders/1', 'DELETE', { text });
  expect(diff).toMatch(/\t\n.* \n$/s);
  const control = await serveControl(repository, async () => known([ORDERS]));
  vi.stubEnv('MESHPASS_RUNTIME_DIR', repository);
  vi.spyOn(console, 'error').mockReturnValue();
  const write = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  const call = [
    'http://orders.shop:8080/orders/1',
    '--method',
    'DELETE',
    '--access',
    fileNamed('access.yaml'),
    '--patch',
  ];
  const code = await run(['node', 'meshpass', 'explain', ...call]);
  const printed = write.mock.calls.map(([part]) => part).join('');
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  control.close();
  expect({ code, printed }).toEqual({ code: 0, printed: diff });
});
