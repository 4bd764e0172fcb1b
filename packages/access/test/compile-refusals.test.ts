import { describe, expect, it } from 'vitest';
import { compile, parseAccess } from '../src/index.ts';
import { EXAMPLE, MESH, TOKENS } from './shop.ts';

const access = parseAccess(EXAMPLE, 'access.yaml');

describe('compile refuses', () => {
  it.each([
    ['no keys', '{"keys":[]}'],
    ['text that is not JSON', 'keys'],
    ['a private key', '{"keys":[{"kty":"RSA","n":"x","e":"AQAB","d":"secret"}]}'],
    ['a symmetric key', '{"keys":[{"kty":"oct","k":"secret"}]}'],
  ])('to publish %s', (_, jwks) => {
    expect(() => compile(access, MESH, { ...TOKENS, jwks })).toThrow(
      expect.objectContaining({ code: 'config_invalid' }),
    );
    expect(() => compile(access, MESH, { ...TOKENS, jwks })).not.toThrow(/secret/);
  });

  it("ID tokens for the mesh's own audience", () => {
    expect(() => compile(access, MESH, { ...TOKENS, audience: 'sts.amazonaws.com' })).toThrow(
      expect.objectContaining({ code: 'access_file_invalid' }),
    );
  });
});
