/** Refresh tokens at a provider that does what OpenID Connect Core section 12.2 allows, and hardly any does. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { refreshTokens } from '../../src/login/tokens.ts';

let server: Server;
let issuer: string;
/** Requests that it received, in order. */
let asked: string[];
beforeEach(async () => {
  asked = [];
  server = createServer(async (request, response) => {
    const form = new URLSearchParams(await text(request));
    if (request.method === 'POST') asked.push(`${request.url} ${form.get('refresh_token') ?? form.get('token')}`);
    const endpoints = {
      authorization_endpoint: `${issuer}/a`,
      token_endpoint: `${issuer}/t`,
      revocation_endpoint: `${issuer}/r`,
    };
    const given = { access_token: 'x', token_type: 'bearer', expires_in: 60, refresh_token: 'second' };
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(request.method === 'GET' ? { issuer, ...endpoints, jwks_uri: `${issuer}/k` } : given));
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(() => server.close());

it('are revoked, including the new one, if the provider issues no ID token for them', async () => {
  expect(await refreshTokens({ name: 'acme', issuer, client: 'meshpass', token: 'first' })).toBeUndefined();
  expect(asked).toEqual(['/t first', '/r second']);
});
