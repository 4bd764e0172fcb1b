import { parseAccess } from '@meshpass/access';
import { loadManifests } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { formatPlan } from '../../src/plan/format.ts';
import { planChange } from '../../src/plan/plan.ts';
import { describeTrustChange, trustChanges } from '../../src/plan/trust-changes.ts';

const OKTA = 'okta: {issuer: https://acme.okta.com, audience: meshpass, signIn: {client: cli}}';
const file = (operators: string, { issuers = OKTA, more = '', trust = '' } = {}) =>
  `trust: {codespaces: {organization: acme}, issuers: {${issuers}}${trust}}\n${operators && `operators: {${operators}}\n`}${more}grants:\n  dev: {who: [{user: alice}], to: [{service: orders.shop, port: 8080}]}\n`;
const changes = (before: string, after: string) => trustChanges(parseAccess(before, 'a'), parseAccess(after, 'a'));
const said = (before: string, after: string) =>
  changes(before, after).map((one) => `${one.wider ? '+' : '-'} ${describeTrustChange(one)}`);
const SRE = 'admin: [{issuer: okta, claims: {groups: sre}}]';
const WEBHOOK = "approvals: {webhooks: {chat: {url: 'https://chat.example/x', speaksFor: github}}}\n";

describe('what a change of the access file means for whom the broker trusts', () => {
  it.each([
    ['nothing where only places and reasons move', file(SRE), `# a line more\n${file(SRE)}`, []],
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
        '+ how operators sign in changes: sessions last 28800 seconds at most, 3600 before',
        '+ how operators sign in changes: ID tokens without a nonce are accepted from now on',
      ],
    ],
    [
      'how often operators are confirmed, which is wider where it is less often',
      file(SRE),
      file(`${SRE}, confirm: 10m`),
      ['+ how operators sign in changes: issuers confirm operators every 600 seconds, 300 before'],
    ],
    [
      'how often operators are confirmed, which is narrower where it is more often',
      file(SRE),
      file(`${SRE}, confirm: 30s`),
      ['- how operators sign in changes: issuers confirm operators every 30 seconds, 300 before'],
    ],
    ['all roles, where operators go', file(SRE), file(''), ['- issuer okta, claim groups sre loses the role admin']],
    [
      'roles of a ServiceAccount',
      file('serviceAccounts: [{serviceAccount: ci/reporter, roles: [viewer]}]'),
      file('serviceAccounts: [{serviceAccount: ci/reporter, roles: [viewer, operator]}]'),
      ['+ ServiceAccount ci/reporter gains the role operator'],
    ],
    [
      'a second person that is no longer needed, before one that is',
      file(`${SRE}, secondPerson: [policy.apply]`),
      file(`${SRE}, secondPerson: [audit.prune]`),
      ['+ policy.apply loses the need of a second person', '- audit.prune gains the need of a second person'],
    ],
    [
      'no second person at all, where operators go',
      file(`${SRE}, secondPerson: [policy.apply]`),
      file(''),
      ['+ policy.apply loses the need of a second person', '- issuer okta, claim groups sre loses the role admin'],
    ],
    [
      'an issuer that is new, and one that goes',
      file(SRE),
      file(SRE, { issuers: `${OKTA}, corp: {issuer: https://corp.test, audience: m}` }),
      ['+ issuer corp (https://corp.test) gains trust: its tokens prove who somebody is'],
    ],
    [
      'another issuer under the same name, and another client',
      file(SRE),
      file(SRE, { issuers: 'okta: {issuer: https://evil.test, audience: meshpass, signIn: {client: other}}' }),
      [
        expect.stringMatching(
          /^\+ issuer okta changes: issuer https:\/\/evil\.test, https:\/\/acme\.okta\.com before; signIn .*"client":"other".* before$/,
        ),
      ],
    ],
    [
      'another client with which operators sign in',
      file(SRE, { issuers: OKTA.replace('client: cli', 'client: cli, operatorClient: ops') }),
      file(SRE, { issuers: OKTA.replace('client: cli', 'client: cli, operatorClient: new, subjectType: public') }),
      [
        expect.stringMatching(
          /^\+ issuer okta changes: signIn .*"operatorClient":"new".*"subjectType":"public".*, .*"operatorClient":"ops".* before$/,
        ),
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
      [
        '+ webhook chat (for people of github, at https://chat.example/x) gains the right to answer requests for approval',
      ],
    ],
    [
      'a webhook that speaks for others',
      file(SRE, { more: WEBHOOK }),
      file(SRE, { more: WEBHOOK.replace('speaksFor: github', 'speaksFor: okta') }),
      [
        '+ webhook chat (for people of okta, at https://chat.example/x) gains the right to answer requests for approval',
        '- webhook chat (for people of github, at https://chat.example/x) loses the right to answer requests for approval',
      ],
    ],
  ])('is %s', (_, before, after, expected) => {
    expect(said(before, after)).toEqual(expected);
  });

  it('stands in the plan, as data, as text and as Markdown', () => {
    const plan = planChange({
      access: parseAccess(file('viewer: [{issuer: okta, claims: {groups: all}}]'), 'a'),
      inForce: parseAccess(file(SRE), 'a'),
      cluster: loadManifests(
        'apiVersion: v1\nkind: Service\nmetadata: {name: orders, namespace: shop}\nspec: {selector: {app: orders}, ports: [{port: 8080, name: http}]}',
        'c.yaml',
      ).resources,
      shape: {
        ...{ trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local' },
        gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
      },
      tokens: {
        ...{ issuer: 'https://broker.test', audience: 'mesh', header: 'x-meshpass-token' },
        jwks: '{"keys":[{"kty":"RSA","kid":"1","n":"AQAB","e":"AQAB"}]}',
      },
    });
    expect(plan.trust).toEqual([
      { about: 'role', who: 'issuer okta, claim groups all', does: 'gains', what: 'the role viewer', wider: true },
      { about: 'role', who: 'issuer okta, claim groups sre', does: 'loses', what: 'the role admin', wider: false },
    ]);
    expect(formatPlan(plan, 'text')).toContain(
      'Whom the broker trusts:\n  issuer okta, claim groups all gains the role viewer\n',
    );
    expect(formatPlan(plan, 'markdown')).toContain(
      '### Whom the broker trusts\n\n- `issuer okta, claim groups all gains the role viewer`\n',
    );
    const { trust: _, ...older } = plan;
    expect(formatPlan(older, 'text')).not.toContain('Whom the broker trusts');
  });
});
