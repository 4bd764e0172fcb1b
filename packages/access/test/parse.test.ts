import { readFileSync } from 'node:fs';
import { MeshpassError } from '@meshpass/identity';
import { describe, expect, it } from 'vitest';
import { type AccessFileProblem, parseAccess, teamsMentioned } from '../src/index.ts';
import { BAD_CONSTRUCTS } from './bad-constructs.ts';
import { BAD_FILES } from './bad-files.ts';
import { BAD_TARGETS } from './bad-targets.ts';
import { BAD_TRUST } from './bad-trust.ts';
import { GOOD_FILES } from './good-files.ts';
import { EXAMPLE, fileWith } from './shop.ts';

function refusal(text: string): MeshpassError {
  try {
    parseAccess(text, 'access.yaml');
  } catch (error) {
    if (error instanceof MeshpassError) return error;
    throw error;
  }
  throw new Error('the file was taken');
}

describe('a good access file', () => {
  it('is read with the place of every entry', () => {
    const access = parseAccess(EXAMPLE, 'access.yaml');
    expect(access.trust).toEqual({
      codespaces: { organization: 'acme' },
      issuers: [
        {
          name: 'okta',
          issuer: 'https://acme.okta.com',
          audience: 'meshpass',
          algorithms: ['RS256', 'PS256', 'ES256', 'EdDSA'],
          kind: 'generic',
        },
        {
          name: 'ci',
          issuer: 'https://token.actions.githubusercontent.com',
          audience: 'meshpass',
          algorithms: ['RS256', 'PS256', 'ES256', 'EdDSA'],
          kind: 'actions',
        },
      ],
      audiences: ['sts.amazonaws.com'],
    });
    expect(access.grants).toEqual([
      {
        name: 'payments-dev',
        place: { file: 'access.yaml', line: 8, column: 3 },
        who: [
          { place: { file: 'access.yaml', line: 10, column: 9 }, team: 'acme/payments', repository: 'acme/payments-*' },
          {
            place: { file: 'access.yaml', line: 11, column: 9 },
            when: 'claims.email.endsWith("@acme.com") && claims.groups.exists(g, g == "sre")',
          },
        ],
        to: [
          {
            place: { file: 'access.yaml', line: 13, column: 9 },
            service: 'orders',
            namespace: 'shop',
            port: 8080,
            allow: [
              { method: 'GET', path: '/orders/*' },
              { method: 'POST', path: '/refunds' },
            ],
          },
          { place: { file: 'access.yaml', line: 14, column: 9 }, service: 'ledger-db', namespace: 'shop', port: 5432 },
        ],
        kubernetesRoles: [{ role: 'view', namespace: 'shop', place: { file: 'access.yaml', line: 15, column: 26 } }],
        ttl: 600,
        session: 28800,
      },
    ]);
  });

  it('has certificates of 10 minutes and sessions of 8 hours where it does not say', () => {
    expect(parseAccess(fileWith({}), 'f').grants[0]).toMatchObject({ ttl: 600, session: 28800, kubernetesRoles: [] });
  });

  it('may have no grants', () => {
    expect(parseAccess('trust: {}\ngrants: {}\n', 'f')).toEqual({
      file: 'f',
      trust: { issuers: [], audiences: [] },
      grants: [],
    });
  });

  it('mentions the teams to ask for, each once', () => {
    const text = fileWith({
      who: '[{team: Acme/Zeta}, {team: acme/alpha}, {team: acme/zeta, user: bob}, {user: carol}]',
    });
    expect(teamsMentioned(parseAccess(text, 'f'))).toEqual(['acme/alpha', 'acme/zeta']);
  });

  it('takes an issuer on an enterprise path of GitHub Actions for what it is, and a look-alike for a stranger', () => {
    const kinds = [
      'https://token.actions.githubusercontent.com/acme',
      'https://token.actions.githubusercontent.com.evil.example',
    ].map(
      (issuer) =>
        parseAccess(`trust: {issuers: {x: {issuer: '${issuer}', audience: a}}}\ngrants: {}\n`, 'f').trust.issuers[0]
          ?.kind,
    );
    expect(kinds).toEqual(['actions', 'generic']);
  });

  it('takes plain HTTP issuers only where the lab says so', () => {
    const text = 'trust: {issuers: {x: {issuer: "http://idp.test", audience: a}}}\ngrants: {}\n';
    expect(refusal(text).message).toMatch(/^access\.yaml:1:31 issuer: "http:\/\/idp\.test" is not a valid issuer/);
    expect(parseAccess(text, 'f', { dangerouslyAllowPlainHttpIssuers: true }).trust.issuers).toHaveLength(1);
  });
});

describe('is taken:', () => {
  it.each(GOOD_FILES)('%s', (_, text) => {
    expect(parseAccess(text, 'access.yaml').file).toBe('access.yaml');
  });
});

describe('a bad access file is refused, by line:', () => {
  it.each([...BAD_FILES, ...BAD_TARGETS, ...BAD_TRUST, ...BAD_CONSTRUCTS])('%s', (_, text, code, message) => {
    const error = refusal(text);
    expect(error.message).toMatch(message);
    expect(error.code).toBe(code);
    expect(error.message).toMatch(/^access\.yaml:[1-9]\d*:[1-9]\d* /);
  });

  it('with every finding at once, in the order of the file', () => {
    const text = EXAMPLE.replace('allow:', 'alow:')
      .replace('10m', '10d')
      .replace('"sre")', '"sre"')
      .replace('acme/payments-*', 'acme*/p');
    const error = refusal(text);
    expect(error.message.split('\n')).toEqual([
      expect.stringMatching(/^access\.yaml:10:43 .*other owners/),
      expect.stringMatching(/^access\.yaml:11:15 when: not a valid CEL expression/),
      expect.stringMatching(/^access\.yaml:13:44 unknown key "alow"/),
      expect.stringMatching(/^access\.yaml:16:10 ttl: "10d" is not a valid duration/),
    ]);
    expect(error.code).toBe('access_file_pattern_unanchored');
    const problems = error.detail.problems as readonly AccessFileProblem[];
    expect(problems.map(({ code }) => code)).toEqual([
      'access_file_pattern_unanchored',
      'access_file_expression',
      'access_file_unknown_key',
      'access_file_invalid',
    ]);
    expect(problems[2]?.place).toEqual({ file: 'access.yaml', line: 13, column: 44 });
  });

  it('with a hundred findings listed and the rest counted', () => {
    const text = fileWith({ who: `[${Array.from({ length: 150 }, () => '{}').join(', ')}]` });
    expect(refusal(text).message.split('\n')).toHaveLength(101);
    expect(refusal(text).message).toMatch(/and 50 more$/);
  });
});

describe('the reference of the access file', () => {
  const page = readFileSync(new URL('../../../docs/access-file.md', import.meta.url), 'utf8');
  const examples = [...page.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, example]) => example!);

  it('shows an example that is taken', () => {
    expect(parseAccess(examples[0]!, 'access.yaml').grants.map(({ name }) => name)).toEqual(['payments-dev']);
  });

  /** A part of a file, or of a grant, put where it belongs. */
  const whole = (part: string): string => {
    const [trust, rest] = [
      EXAMPLE.slice(0, EXAMPLE.indexOf('grants:')),
      'who: [{user: a}]\n    to: [{service: a.b, port: 1}]',
    ];
    const missing = rest.split('\n    ').filter((line) => !new RegExp(`^ {4}${line.split(':')[0]}:`, 'm').test(part));
    if (part.startsWith('    ')) return `${trust}grants:\n  part:\n${part}    ${missing.join('\n    ')}\n`;
    if (part.startsWith('operators'))
      return EXAMPLE.replace(/(okta: \{[^}]*)\}/, '$1, signIn: {client: cli}}').replace('grants:', `${part}grants:`);
    return /^(?:include|contact):/.test(part) ? `${part}${EXAMPLE}` : `${trust}${part}    ${missing.join('\n    ')}\n`;
  };

  it.each(examples.slice(1).map((part) => [part.trim().split('\n')[0]!, part] as const))(
    'shows %s ..., which is taken',
    (_, part) => {
      const include = () => ({ text: 'grants: {}\n' });
      expect(parseAccess(whole(part), 'access.yaml', { include }).grants.length).toBeGreaterThan(0);
    },
  );
});
