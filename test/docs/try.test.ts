import { readFileSync } from 'node:fs';
import { parseAccess } from '@meshpass/access';
import { ONE_CLIENT } from '@meshpass/lab/oidc/idp';
import { expect, test } from 'vitest';

test('the access file of npm run try is valid, and uses that client', () => {
  const text = readFileSync(new URL('../../lab/src/try/access.yaml', import.meta.url), 'utf8');
  const { trust, grants } = parseAccess(text, 'access.yaml');
  expect(JSON.stringify(trust)).toContain(ONE_CLIENT);
  expect(grants.map(({ name }) => name)).toEqual(['payments-dev', 'payments-signed-in', 'payments-prod']);
});
