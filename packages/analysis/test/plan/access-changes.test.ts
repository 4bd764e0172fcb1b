import { parseAccess } from '@meshpass/access';
import { loadManifests } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { fileWith } from '../../../access/test/shop.ts';
import { accessChanges } from '../../src/plan/access-changes.ts';
import { formatPlan } from '../../src/plan/format.ts';
import { planChange } from '../../src/plan/plan.ts';

const changes = (before: string, after: string) => accessChanges(parseAccess(before, 'a'), parseAccess(after, 'a'));
const sentences = (before: string, after: string) => changes(before, after).map(({ says }) => says);
const who = (entries: string) => fileWith({ who: `[${entries}]` });
const to = (more: string) => fileWith({ to: `[{service: orders.shop, port: 8080, ${more}}]` });

describe('accessChanges describes holders', () => {
  it.each([
    ['nothing if only positions change', who('{user: a}'), `# a line more\n${who('{user: a}')}`, []],
    [
      'an added and a removed alternative',
      who('{user_id: 5}'),
      who('{role: acme/admin}'),
      ['role acme/admin may now use dev', 'user id 5 may no longer use dev'],
    ],
    [
      'an additional claim value',
      who('{issuer: okta, claims: {a: b}}'),
      who('{issuer: okta, claims: {a: [b, c]}}'),
      ['issuer okta, claim a b or c may now use dev', 'issuer okta, claim a b may no longer use dev'],
    ],
    [
      'a new denial, without its reason',
      fileWith({}),
      `deny: [{user_id: 5, reason: left}]\n${fileWith({})}`,
      ['user id 5 is now denied every grant and every role'],
    ],
    [
      'a changed reason alone',
      `deny: [{user_id: 5, reason: left}]\n${fileWith({})}`,
      `deny: [{user_id: 5}]\n${fileWith({})}`,
      ['user id 5 is denied every grant and every role for the reason "", previously "left"'],
    ],
    [
      'a removed exception',
      fileWith({ more: 'except: [{user_id: 5}]' }),
      fileWith({}),
      ['user id 5 is no longer denied dev'],
    ],
    [
      'the time',
      fileWith({}),
      fileWith({ more: 'during: [{days: [mon]}]' }),
      ['dev is open only on mon (UTC), previously at any time'],
    ],
    [
      'an approval',
      fileWith({ more: 'approval: {by: {user_id: 5}}' }),
      fileWith({}),
      [
        'dev requires no approval, previously approval by user id 5, at most 1h',
        'user id 5 may no longer approve dev',
        'dev loses approval.for 1h',
        'dev loses approval.reason required',
        'dev loses approval.count 1',
        'dev loses approval.max 1h',
      ],
    ],
    [
      'an emergency for all who may request the grant',
      fileWith({ more: 'approval: {by: {user_id: 5}}' }),
      fileWith({ more: 'approval: {by: {user_id: 5}, emergency: {}}' }),
      [
        'dev may now be taken in an emergency, at most 30m, reviewed within 24h by user id 5',
        'dev gains approval.emergency.for 30m',
        'dev gains approval.emergency.within 24h',
        'user alice may now in an emergency take dev',
        'user id 5 may now review emergencies of dev',
      ],
    ],
    [
      'an emergency for fewer people',
      fileWith({ more: 'approval: {by: {user_id: 5}, emergency: {who: [{user_id: 6}, {user_id: 7}]}}' }),
      fileWith({ more: 'approval: {by: {user_id: 5}, emergency: {who: {user_id: 6}}}' }),
      ['user id 7 may no longer in an emergency take dev'],
    ],
    [
      'an alternative of `who` with an approval',
      fileWith({ more: 'approval: {by: {user_id: 5}}' }),
      fileWith({ who: '[{user: alice}, {user: bob}]', more: 'approval: {by: {user_id: 5}}' }),
      ['user bob, with approval by user id 5, at most 1h may now use dev'],
    ],
    [
      'a denied operation, without a loss of other calls',
      to("allow: ['GET /orders/*']"),
      to("allow: ['GET /orders/*', '* /x'], deny: [DELETE /x]"),
      ['dev gains * /x on orders.shop:8080', 'dev now denies DELETE /x on orders.shop:8080, whatever it allows'],
    ],
    [
      'an operation that is no longer denied',
      to("allow: ['* /x'], deny: [DELETE /x, PUT /x]"),
      to("allow: ['* /x'], deny: [PUT /x]"),
      ['dev no longer denies DELETE /x on orders.shop:8080'],
    ],
    [
      'an operation that is allowed and denied',
      to("allow: ['GET /x']"),
      to("allow: ['GET /x', POST /y], deny: [POST /y]"),
      ['dev gains POST /y on orders.shop:8080', 'dev now denies POST /y on orders.shop:8080, whatever it allows'],
    ],
  ])('is %s', (_, before, after, expected) => {
    expect(sentences(before, after)).toEqual(expected);
  });
});

const OKTA = 'okta: {issuer: https://acme.okta.com, audience: meshpass, signIn: {client: cli}}';
const file = (operators: string, { issuers = OKTA, more = '', trust = '' } = {}) =>
  `trust: {codespaces: {organization: acme}, issuers: {${issuers}}${trust}}\n${operators && `operators: {${operators}}\n`}${more}grants:\n  dev: {who: [{user: alice}], to: [{service: orders.shop, port: 8080}]}\n`;
const said = (before: string, after: string) =>
  changes(before, after).map((one) => `${one.wider ? '+' : '-'} ${one.says}`);
const SRE = 'admin: [{issuer: okta, claims: {groups: sre}}]';
const WEBHOOK = "approvals: {webhooks: {chat: {url: 'https://chat.example/x', speaksFor: github}}}\n";

describe('accessChanges describes trust', () => {
  it.each([
    ['nothing if only positions and reasons change', file(SRE), `# a line more\n${file(SRE)}`, []],
    [
      'a contact, which gives no access',
      file(SRE, { more: 'contact: a@acme.example\n' }),
      file(SRE, { more: 'contact: "#platform"\n' }),
      ['- the access file changes: contact #platform, previously a@acme.example'],
    ],
    [
      'a new contact',
      file(SRE),
      file(SRE, { more: 'contact: "#platform"\n' }),
      ['- the access file gains contact #platform'],
    ],
    [
      'an entry of a role that comes, and one that goes',
      file(SRE),
      file('admin: [{issuer: okta, claims: {sub: 00u1bob}}], viewer: [{issuer: okta, claims: {groups: sre}}]'),
      [
        '+ issuer okta, claim groups sre gains the role viewer',
        '+ issuer okta, claim sub 00u1bob gains the role admin',
        '- issuer okta, claim groups sre loses the role admin',
      ],
    ],
    [
      'all roles, where operators are new, and how they sign in',
      file(''),
      file(`${SRE}, session: 8h, deviceFlow: true`),
      [
        '+ issuer okta, claim groups sre gains the role admin',
        '+ how operators sign in changes: sessions last at most 8h, previously 1h',
        '+ how operators sign in changes: ID tokens without a nonce are accepted from now on',
      ],
    ],
    ['all roles, where operators go', file(SRE), file(''), ['- issuer okta, claim groups sre loses the role admin']],
    [
      'roles of a ServiceAccount',
      file('serviceAccounts: [{serviceAccount: ci/reporter, roles: [viewer]}]'),
      file('serviceAccounts: [{serviceAccount: ci/reporter, roles: [viewer, operator]}]'),
      ['+ ServiceAccount ci/reporter gains the role operator'],
    ],
    [
      'an issuer that is new, and one that goes',
      file(SRE),
      file(SRE, { issuers: `${OKTA}, corp: {issuer: https://corp.test, audience: m}` }),
      [
        '+ issuer corp (https://corp.test) gains trust: its tokens prove identities (audience m, algorithms RS256 or PS256 or ES256 or EdDSA, kind generic)',
      ],
    ],
    [
      'another issuer under the same name, and another client',
      file(SRE),
      file(SRE, { issuers: 'okta: {issuer: https://evil.test, audience: meshpass, signIn: {client: other}}' }),
      [
        '+ issuer okta changes: issuer https://evil.test, previously https://acme.okta.com',
        '+ issuer okta changes: signIn.client other, previously cli',
      ],
    ],
    [
      'another client with which operators sign in',
      file(SRE, { issuers: OKTA.replace('client: cli', 'client: cli, operatorClient: ops') }),
      file(SRE, { issuers: OKTA.replace('client: cli', 'client: cli, operatorClient: new, subjectType: public') }),
      [
        '+ issuer okta changes: signIn.operatorClient new, previously ops',
        '+ issuer okta gains signIn.subjectType public',
      ],
    ],
    [
      'an audience of ID tokens',
      file(SRE),
      file(SRE, { trust: ', audiences: [sts.amazonaws.com]' }),
      ['+ every grant gains ID tokens for sts.amazonaws.com'],
    ],
    [
      'a webhook that may answer',
      file(SRE),
      file(SRE, { more: WEBHOOK }),
      ['+ webhook chat (for people of github, at https://chat.example/x) gains the right to answer approval requests'],
    ],
    [
      'a webhook that speaks for others',
      file(SRE, { more: WEBHOOK }),
      file(SRE, { more: WEBHOOK.replace('speaksFor: github', 'speaksFor: okta') }),
      ['+ webhook chat changes: speaksFor okta, previously github'],
    ],
  ])('is %s', (_, before, after, expected) => {
    expect(said(before, after)).toEqual(expected);
  });

  it('adds changes to the plan as data, as text and as Markdown', () => {
    const plan = planChange({
      access: parseAccess(file('viewer: [{issuer: okta, claims: {groups: all}}]'), 'a'),
      inForce: parseAccess(file(SRE), 'a'),
      cluster: loadManifests(
        'apiVersion: v1\nkind: Service\nmetadata: {name: orders, namespace: shop}\nspec: {selector: {app: orders}, ports: [{port: 8080, name: http}]}',
        'c.yaml',
      ).resources,
      shape: {
        trustDomain: 'cluster.local',
        rootNamespace: 'istio-system',
        clusterDomain: 'cluster.local',
        gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
      },
      tokens: {
        issuer: 'https://broker.test',
        audience: 'mesh',
        header: 'x-meshpass-token',
        jwks: '{"keys":[{"kty":"RSA","kid":"1","n":"AQAB","e":"AQAB"}]}',
      },
    });
    expect(plan.changes).toEqual([
      {
        path: 'operators.viewer',
        does: 'gains',
        after: 'issuer okta, claim groups all',
        wider: true,
        says: 'issuer okta, claim groups all gains the role viewer',
      },
      {
        path: 'operators.admin',
        does: 'loses',
        before: 'issuer okta, claim groups sre',
        wider: false,
        says: 'issuer okta, claim groups sre loses the role admin',
      },
    ]);
    expect(formatPlan(plan, 'text')).toContain(
      'What it means:\n  issuer okta, claim groups all gains the role viewer\n',
    );
    expect(formatPlan(plan, 'markdown')).toContain(
      '### What it means\n\n- `issuer okta, claim groups all gains the role viewer`\n',
    );
    const { changes: _, ...withoutFrom } = plan;
    expect(formatPlan(withoutFrom, 'text')).toContain('Not shown: changes to the file other than calls.');
  });
});

describe('a name chosen by users', () => {
  const named = (claim: string, value: string) =>
    file(`admin: [{issuer: okta, claims: {${claim}: ${value}}}]`, {
      more: `deny: [{issuer: okta, claims: {${claim}: ${value}}}]\n`,
    });

  it.each(['place', 'reason', 'name', 'file', 'constructor', 'toJSON'])(
    'is not mistaken for a member if a claim is called %s',
    (claim) => {
      expect(sentences(named(claim, 'alice'), named(claim, 'mallory')).toSorted()).toEqual([
        `issuer okta, claim ${claim} alice is no longer denied every grant and every role`,
        `issuer okta, claim ${claim} alice loses the role admin`,
        `issuer okta, claim ${claim} mallory gains the role admin`,
        `issuer okta, claim ${claim} mallory is now denied every grant and every role`,
      ]);
    },
  );

  it('has no value before where it is a new grant called constructor', () => {
    const text = (grants: string) => `trust: {codespaces: {organization: acme}}\ngrants:\n${grants}`;
    const grant = (name: string) => `  ${name}: {who: [{user: x}], to: [{service: orders.shop, port: 80}]}\n`;
    const after = (name: string) => sentences(text(grant('dev')), text(grant('dev') + grant(name)));
    expect(after('constructor')).toEqual(after('other').map((one) => one.replaceAll('other', 'constructor')));
  });
});

describe('nothing', () => {
  it('is a comment, another order, another name of the file, or a default that is written', () => {
    const grants = [
      '  a: {who: [{user: x}, {user: y}], to: [{service: orders.shop, ports: [80, 81]}]}',
      '  b: {who: [{user: x}], to: [{service: orders.shop, port: 80}], ttl: 10m}',
    ];
    const text = (lines: readonly string[], more = '') =>
      `${more}trust: {codespaces: {organization: acme}}\ngrants:\n${lines.join('\n')}\n`;
    const other = [
      grants[1]!.replace(', ttl: 10m', ''),
      '  # a comment',
      grants[0]!.replace('{user: x}, {user: y}', '{user: y}, {user: x}').replace('80, 81', '81, 80'),
    ];
    expect(
      accessChanges(parseAccess(text(grants), 'a.yaml'), parseAccess(text(other, '# more\ndeny: []\n'), 'b.yaml')),
    ).toEqual([]);
  });
});

it('prints nothing of a file that could end a line', () => {
  const forged = (text: string) => fileWith({ who: `[{issuer: okta, when: ${JSON.stringify(text)}}]` });
  const [says] = sentences(
    forged('claims.a == "b"'),
    forged('claims.a == "c" ||\n\u001b[2K claims.a == "d"'.replace('\u001b[2K', '')),
  );
  expect(says).toContain('may now use dev');
  expect(says).not.toMatch(/\p{Cc}/u);
});
