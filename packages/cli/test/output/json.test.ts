import { expect, it } from 'vitest';
import { withSnakeCaseTwins } from '../../src/output/json.ts';

it('also prints members in camelCase under their names in snake_case, at every depth', () => {
  const value = { id: 1, expiresAt: 2, svids: [{ spiffeId: 'a' }], 'app.kubernetes.io/Name': 3, none: null };
  expect(withSnakeCaseTwins(value)).toEqual({
    id: 1,
    expiresAt: 2,
    expires_at: 2,
    svids: [{ spiffeId: 'a', spiffe_id: 'a' }],
    'app.kubernetes.io/Name': 3,
    none: null,
  });
});
