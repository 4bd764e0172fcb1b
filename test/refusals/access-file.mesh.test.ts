/** Access files that must change nothing: neither access nor any object in the cluster. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { codespaceProof, type DataPath, enrolled, openDataPath, until } from '../mesh.ts';

const GOOD = `trust:
  codespaces: {organization: acme}
  issuers:
    okta: {issuer: "https://idp.test:8443", audience: meshpass}
grants:
  payments-dev:
    who:
      - {team: acme/payments, repository: acme/payments-*}
    to:
      - {service: orders.shop, port: 8080, allow: [GET /orders/*]}
      - {service: ledger-db.shop, port: 5432}
    ttl: 10m
  sre-bulk:
    who:
      - {issuer: okta, when: claims.email.endsWith("@acme.com")}
    to:
      - {service: orders.shop, port: 8080}
`;

let dataPath: DataPath;
let adversary: AdversarialClient;

beforeAll(async () => {
  const dir = mkdtempSync(join(tmpdir(), 'meshpass-access-'));
  writeFileSync(join(dir, 'access.yaml'), GOOD);
  dataPath = await openDataPath({ accessFile: join(dir, 'access.yaml') });
  rmSync(dir, { recursive: true });
  adversary = dataPath.adversary();
  await enrolled(dataPath, adversary);
});
afterEach(async () => {
  put(GOOD);
  // Otherwise its audit row arrives among those of the next test.
  await until(decisions, (rows) => rows.at(-1)?.outcome === 'allowed');
});
afterAll(() => dataPath?.close());

const put = (text: string) => writeFileSync(dataPath.meshpass.accessFile, text);
const changed = (from: string, to: string): string => {
  expect(GOOD).toContain(from);
  return GOOD.replace(from, to);
};
const line = (text: string): number => GOOD.slice(0, GOOD.indexOf(text)).split('\n').length;
const decisions = async () => (await dataPath.audit()).filter((row) => row.action === 'policy.apply');

const WHO = '{team: acme/payments, repository: acme/payments-*}';

const BAD: readonly (readonly [string, () => string, string, RegExp])[] = [
  [
    'an unknown key',
    () => changed('    ttl: 10m', '    tll: 10m'),
    'access_file_unknown_key',
    new RegExp(`^access\\.yaml:${line('ttl: 10m')}:5 unknown key "tll" \\(did you mean "ttl"\\?\\)`, 'm'),
  ],
  [
    'an unknown service',
    () => changed('service: ledger-db.shop', 'service: ledgerdb.shop'),
    'access_service_unknown',
    new RegExp(`^access\\.yaml:${line('ledger-db.shop')}:\\d+ .*ledgerdb`, 'm'),
  ],
  [
    'a port that the service does not have',
    () => changed('port: 5432', 'port: 5433'),
    'access_port_unknown',
    new RegExp(`^access\\.yaml:${line('5432')}:\\d+ `, 'm'),
  ],
  [
    'an unanchored pattern',
    () => changed('acme/payments-*}', '"*payments*"}'),
    'access_file_pattern_unanchored',
    new RegExp(`^access\\.yaml:${line(WHO)}:\\d+ `, 'm'),
  ],
  [
    'an empty who',
    () => changed(`    who:\n      - ${WHO}`, '    who: []'),
    'access_file_who_empty',
    new RegExp(`^access\\.yaml:${line(WHO) - 1}:\\d+ `, 'm'),
  ],
  [
    'a who of which an entry is empty',
    () => changed(WHO, '{}'),
    'access_file_who_empty',
    new RegExp(`^access\\.yaml:${line(WHO)}:\\d+ `, 'm'),
  ],
  [
    'an expression that is none',
    () => changed('claims.email.endsWith', 'claims.email.endsWiht'),
    'access_file_expression',
    new RegExp(`^access\\.yaml:${line('endsWith')}:\\d+ `, 'm'),
  ],
  ['broken YAML', () => `${GOOD}\n  broken: [`, 'access_file_syntax', /^access\.yaml:\d+:\d+ /m],
  ['nothing in it', () => '', 'access_file_invalid', /^access\.yaml:1:1 /m],
];

describe('an access file is refused with its line, is audited, and no part of it is applied, if it has', () => {
  it.each(BAD)('%s', async (_, text, code, message) => {
    const before = { objects: await dataPath.objects(), seq: (await dataPath.audit()).at(-1)!.seq };
    put(text());
    const rows = await until(
      async () => (await decisions()).filter((row) => Number(row.seq) > Number(before.seq)),
      (found) => found.length > 0,
    );
    expect(rows).toMatchObject([{ outcome: 'refused', code, target: 'access.yaml' }]);
    expect(rows[0]!.reason).toMatch(message);
    expect(dataPath.meshpass.log()).toContain('the access file was rejected; the previous one stays in force');

    expect(await dataPath.objects()).toEqual(before.objects);
    // Access stays the same.
    expect(await adversary.certificate('payments-dev')).toMatchObject({ status: 200 });
    const carol = await adversary.as('carol').enrol(codespaceProof(await dataPath.codespace('carol')));
    expect(carol).toMatchObject({ status: 403, json: { error_code: 'access_none' } });
    const ready = await fetch(`${dataPath.meshpass.operatorUrl}/readyz`);
    expect(ready.status).toBe(200);
  });

  it.each(BAD.filter(([, , code]) => code.startsWith('access_file_')))(
    '%s, and `meshpass access check` says the same',
    async (_, text, code, message) => {
      const file = `${dataPath.lab.dir}/access.yaml`;
      writeFileSync(file, text());
      const checked = await dataPath.lab.exec('control', ['meshpass', 'access', 'check', file]);
      expect(checked.code).toBe(1);
      expect(checked.stderr).toContain(`[${code}]`);
      expect(checked.stderr.replace(/^meshpass: .*?(?=access\.yaml:)/s, '')).toMatch(message);
    },
  );
});

describe('a good access file is applied, and audited', () => {
  it('when it grants more', async () => {
    const objects = await dataPath.objects();
    put(changed(WHO, `${WHO}\n      - {user: carol}`));
    await until(
      async () => adversary.as('carol').enrol(codespaceProof(await dataPath.codespace('carol'))),
      ({ status }) => status === 200,
    );
    expect((await decisions()).at(-1)).toMatchObject({ outcome: 'allowed', target: 'access.yaml', code: null });
    expect(Object.keys(await dataPath.objects())).toEqual(Object.keys(objects));
  });

  it('when it grants less: what live sessions lose, they lose at once', async () => {
    const session = adversary.as('losing');
    await enrolled(dataPath, session);
    put(changed(WHO, '{user: nobody-at-all}'));
    await until(
      () => session.speak('GET', '/services'),
      ({ status }) => status === 401,
    );
    const report = await session.tunnel({
      target: 'orders.shop.svc.cluster.local:8080',
      grant: 'payments-dev',
      edge: dataPath.meshpass.edge,
    });
    expect(report).toMatchObject({ stage: 'edge', edgeCode: 'tunnel_session_unknown' });
  });
});

it('no audit row and no line of the log holds a token', () => dataPath.expectNoSecretKept());
