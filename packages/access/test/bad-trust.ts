/** More access files that must be refused: whom they trust. The same form as bad-files.ts. */
import type { BAD_FILES } from './bad-files.ts';
import { EXAMPLE, fileWith } from './shop.ts';

export const BAD_TRUST: typeof BAD_FILES = [
  [
    'a team where no Codespace is trusted',
    fileWith({ trust: '  audiences: []', who: '[{team: a/b}]' }),
    'access_file_invalid',
    /set trust\.codespaces\.organization/,
  ],
  [
    'Codespaces where none is trusted',
    fileWith({ trust: '  audiences: []', who: '[{issuer: github}]' }),
    'access_file_invalid',
    /is not trusted/,
  ],
  [
    'an issuer called github',
    EXAMPLE.replace('okta:', 'github:'),
    'access_file_invalid',
    /:4:5 .*always means Codespaces/,
  ],
  [
    'one issuer under two names',
    EXAMPLE.replace('https://token.actions.githubusercontent.com', 'https://acme.okta.com'),
    'access_file_invalid',
    /:5:5 issuers "okta" and "ci" are the same$/,
  ],
  [
    'an issuer with a wildcard',
    EXAMPLE.replace('https://acme.okta.com', 'https://*.okta.com'),
    'access_file_invalid',
    /is not a valid issuer/,
  ],
  [
    'an issuer with a query',
    EXAMPLE.replace('https://acme.okta.com', 'https://acme.okta.com?a=b'),
    'access_file_invalid',
    /is not a valid issuer/,
  ],
  [
    'an issuer with a password',
    EXAMPLE.replace('https://acme.okta.com', '"https://a:b@acme.okta.com"'),
    'access_file_invalid',
    /is not a valid issuer/,
  ],
  [
    'no signature at all',
    EXAMPLE.replace('audience: meshpass}', 'audience: meshpass, algorithms: [none]}'),
    'access_file_invalid',
    /"none" is not supported/,
  ],
  [
    'ID tokens that are dated back by an hour',
    EXAMPLE.replace('audience: meshpass}', 'audience: meshpass, signIn: {client: c, backdated: 1h}}'),
    'access_file_invalid',
    /1h is too long: the maximum is 5m/,
  ],
  [
    'signatures by shared secret',
    EXAMPLE.replace('audience: meshpass}', 'audience: meshpass, algorithms: [HS256]}'),
    'access_file_invalid',
    /"HS256" is not supported/,
  ],
  [
    'no algorithm',
    EXAMPLE.replace('audience: meshpass}', 'audience: meshpass, algorithms: []}'),
    'access_file_invalid',
    /algorithms: must not be empty/,
  ],
  [
    'the audience of istiod',
    EXAMPLE.replace('sts.amazonaws.com', 'istio-ca'),
    'access_file_invalid',
    /belongs to the cluster/,
  ],
  [
    'an organization by pattern',
    EXAMPLE.replace('organization: acme', 'organization: "*"'),
    'access_file_pattern_unanchored',
    /do not support patterns/,
  ],
];
