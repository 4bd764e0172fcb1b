/** Adds one call to an access file: the smallest change of its text, and everything else stays. */
import { describe, expect, it } from 'vitest';
import { allowCall, parseAccess } from '../../src/index.ts';

const HEAD = `# Who reaches what.
trust: { codespaces: { organization: acme } }

grants:
  dev:
    who: [{ user: alice }] # for now
    to:
`;
const call = (more: object = {}) => ({
  grant: 'dev',
  service: 'orders',
  namespace: 'shop',
  port: 8080,
  operation: { method: 'DELETE', path: '/orders/1' },
  ...more,
});

/** Lines that are not in the other text. */
function changed(before: string, after: string): { gone: string[]; fresh: string[] } {
  const [old, now] = [before.split('\n'), after.split('\n')];
  return { gone: old.filter((line) => !now.includes(line)), fresh: now.filter((line) => !old.includes(line)) };
}
function edited(entries: string, more: object = {}) {
  const text = HEAD + entries;
  parseAccess(text, 'access.yaml');
  const after = allowCall(text, call(more));
  const access = parseAccess(after, 'access.yaml');
  const allows = access.grants[0]!.to.map(({ service, port, allow }) => [
    service,
    port,
    allow?.map(({ method, path }) => `${method} ${path}`),
  ]);
  return { ...changed(text, after), allows };
}

describe('an operation is added to the entry that names the service', () => {
  it.each([
    [
      'a list in brackets, with a comment behind it',
      '      - service: orders.shop\n        port: 8080\n        allow: [GET /orders/*] # read only\n',
      ['        allow: [GET /orders/*, DELETE /orders/1] # read only'],
    ],
    [
      'a list of lines, with comments and what follows',
      '      - service: orders.shop\n        port: 8080\n        allow:\n          # reads\n          - GET /orders/* # all\n\n        # no probes\n        deny: [HEAD /orders/*]\n',
      ['          - DELETE /orders/1'],
    ],
    [
      'an entry in braces',
      '      - { service: orders.shop, port: 8080, allow: [GET /orders/*] }\n',
      ['      - { service: orders.shop, port: 8080, allow: [GET /orders/*, DELETE /orders/1] }'],
    ],
    [
      'brackets over several lines, and a comma at the end',
      '      - service: orders.shop\n        port: 8080\n        allow: [\n          GET /orders/*,\n          GET /health,\n        ]\n',
      ['          GET /health, DELETE /orders/1,'],
    ],
    [
      'one of several ports',
      '      - { service: orders, namespace: shop, ports: [8080, 9090], allow: [GET /x] }\n',
      ['      - { service: orders, namespace: shop, ports: [8080, 9090], allow: [GET /x, DELETE /orders/1] }'],
    ],
    [
      'no newline at the end',
      '      - service: orders.shop\n        port: 8080\n        allow:\n          - GET /orders/*',
      ['          - DELETE /orders/1'],
    ],
    [
      'operations with claims',
      '      - service: orders.shop\n        port: 8080\n        allow:\n          - operation: POST /refunds\n            require: { department: finance }\n',
      ['          - DELETE /orders/1'],
    ],
    [
      'a host',
      '      - host: orders.shop.svc.cluster.local\n        port: 8080\n        allow: ["GET /a,b"]\n',
      ['        allow: ["GET /a,b", DELETE /orders/1]'],
    ],
  ])('%s', (_, entries, fresh) => {
    const result = edited(entries);
    expect(result.fresh).toEqual(fresh);
    expect(result.gone.length).toBeLessThanOrEqual(1);
    expect(result.allows[0]![2]).toContain('DELETE /orders/1');
  });

  it('quotes what YAML would read otherwise', () => {
    const { fresh } = edited('      - { service: orders.shop, port: 8080, allow: [GET /x] }\n', {
      operation: { method: 'GET', path: '/a,b:c' },
    });
    expect(fresh[0]).toContain('allow: [GET /x, "GET /a,b:c"]');
  });

  it('writes a gRPC method where the entry has those', () => {
    const operation = { method: 'POST', path: '/acme.Orders/Get' };
    const { fresh } = edited('      - { service: orders.shop, port: 8080, grpc: [acme.Orders/List] }\n', { operation });
    expect(fresh).toEqual(['      - { service: orders.shop, port: 8080, grpc: [acme.Orders/List, acme.Orders/Get] }']);
    const other = edited('      - service: orders.shop\n        port: 8080\n        grpc: [acme.Orders/List]\n');
    expect(other.fresh).toEqual(['        allow: [DELETE /orders/1]']);
  });

  it('keeps the ends of lines of Windows', () => {
    const text =
      `${HEAD}      - service: orders.shop\n        port: 8080\n        allow:\n          - GET /x\n`.replaceAll(
        '\n',
        '\r\n',
      );
    expect(allowCall(text, call())).toBe(`${text}          - DELETE /orders/1\r\n`);
  });
});

describe('an entry is added to the grant that has none', () => {
  it.each([
    [
      'lines',
      '      - service: web.shop\n        port: 80 # plain\n',
      ['      - service: orders.shop', '        port: 8080', '        allow: [DELETE /orders/1]'],
    ],
    [
      'braces',
      '      - { service: web.shop, port: 80 }\n',
      ['      - { service: orders.shop, port: 8080, allow: [DELETE /orders/1] }'],
    ],
    [
      'another port of it',
      '      - { service: orders.shop, port: 80 }\n',
      ['      - { service: orders.shop, port: 8080, allow: [DELETE /orders/1] }'],
    ],
  ])('in the style of the previous one: %s', (_, entries, fresh) => {
    const result = edited(entries);
    expect(result.fresh).toEqual(fresh);
    expect(result.gone).toEqual([]);
  });

  it('in a list in brackets', () => {
    const text = HEAD.replace('    to:\n', '    to: [{ service: web.shop, port: 80 }]\n');
    expect(allowCall(text, call())).toContain(
      'to: [{ service: web.shop, port: 80 }, { service: orders.shop, port: 8080, allow: [DELETE /orders/1] }]',
    );
  });

  it('as a whole port where it is no HTTP', () => {
    const { operation: _, ...tcp } = call({ service: 'ledger-db', port: 5432 });
    const after = allowCall(`${HEAD}      - { service: web.shop, port: 80 }\n`, tcp);
    expect(after).toContain('      - { service: ledger-db.shop, port: 5432 }\n');
  });

  it('before the grants and comments that follow', () => {
    const text = `${HEAD}      - service: web.shop\n        port: 80\n\n  # For operators.\n  ops: { who: [{ user: bob }], to: [{ service: web.shop, port: 80 }] }\n`;
    const access = parseAccess(allowCall(text, call()), 'access.yaml');
    expect(access.grants.map(({ to }) => to.length)).toEqual([2, 1]);
  });
});

describe('no change is made', () => {
  it.each([
    [
      'where the whole port is given',
      '      - { service: orders.shop, port: 8080 }\n',
      {},
      'already allows the whole port',
    ],
    [
      'where a port has a name that only the mesh knows',
      '      - { service: orders.shop, port: http, allow: [GET /x] }\n',
      {},
      'only the mesh knows',
    ],
    [
      'where the grant is not in the file',
      '      - { service: orders.shop, port: 8080 }\n',
      { grant: 'ops' },
      'has no grant ops',
    ],
    [
      'for a connection beside operations',
      '      - { service: orders.shop, port: 8080, allow: [GET /x] }\n',
      { operation: undefined },
      'this connection is not HTTP',
    ],
  ])('%s', (_, entries, more, message) => {
    expect(() => allowCall(HEAD + entries, call(more))).toThrow(message);
  });
});
