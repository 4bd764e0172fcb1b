/** The ID token of a GitHub Actions job, from a server that follows GitHub's documentation. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { discoverProofSource } from '../src/session/discover.ts';
import { type Authority, createAuthority, listen } from './harness.ts';

const trusted = getCACertificates('default');
const ends: (() => void)[] = [];
let github: Authority;

beforeAll(async () => {
  github = await createAuthority('GitHub');
  setDefaultCACertificates([...trusted, github.root]);
});
afterEach(() => {
  for (const end of ends.splice(0)) end();
});
afterAll(() => setDefaultCACertificates(trusted));

/** @returns the proof of a job that requests its token from such a server */
async function proofFrom(answer: (request: IncomingMessage, response: ServerResponse) => void) {
  const server = createServer(await github.issue('localhost'), answer);
  ends.push(() => server.close().closeAllConnections());
  const env = {
    GITHUB_ACTIONS: 'true',
    ACTIONS_ID_TOKEN_REQUEST_URL: `https://localhost:${await listen(server)}/idtoken?api-version=2.0`,
    ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'request-token',
  };
  const source = discoverProofSource(
    { audience: 'meshpass' },
    { env, readText: () => undefined, sharedDirectory: '/nowhere' },
  );
  return await source.proof();
}

test("requests the token with the audience and the job's request token", async () => {
  const seen: unknown[] = [];
  const proof = await proofFrom(({ method, url, headers }, response) => {
    seen.push(method, url, headers.authorization);
    response.end(JSON.stringify({ value: 'the.id.token', count: 1 }));
  });
  expect(proof).toEqual({ type: 'oidc', token: 'the.id.token' });
  expect(seen).toEqual(['GET', '/idtoken?api-version=2.0&audience=meshpass', 'Bearer request-token']);
});

test.each<[string, (request: IncomingMessage, response: ServerResponse) => void]>([
  ['a refusal', (_, response) => response.writeHead(403).end('{"value": "x"}')],
  ['a redirect', (_, response) => response.writeHead(302, { location: 'https://localhost:1/' }).end()],
  ['a body other than JSON', (_, response) => response.end('<html>')],
  ['JSON null', (_, response) => response.end('null')],
  ['a value that is not a string', (_, response) => response.end('{"value": 7}')],
  ['an endless response', (_, response) => flood(response)],
  ['a truncated response', (_, response) => response.writeHead(200).write('{', () => response.destroy())],
])('fails on %s, with an error that does not contain the request token', async (_, answer) => {
  const error = await proofFrom(answer).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'issuer_unavailable' });
  expect(String(error)).not.toContain('request-token');
});

test('sends nothing to a server with an untrusted certificate', async () => {
  setDefaultCACertificates(trusted);
  let isAsked = false;
  const proof = proofFrom((_, response) => {
    isAsked = true;
    response.end('{"value": "x"}');
  });
  await expect(proof).rejects.toMatchObject({ code: 'issuer_unavailable' });
  expect(isAsked).toBe(false);
});

function flood(response: ServerResponse): void {
  const more = () => {
    while (!response.destroyed && response.write('x'.repeat(16_384)));
    if (!response.destroyed) response.once('drain', more);
  };
  more();
}
