/** The mixed load detects the faults for which it exists. */
import { describe, expect, it } from 'vitest';
import { readAnswers } from './http1-answers.ts';
import { seeded } from './random.ts';
import { openTally, type Received, type Sent } from './tally.ts';

const EMPTY_SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
const sent: Sent = { id: 'a', method: 'GET', path: '/x', headers: { 'x-call-id': 'a' }, body: Buffer.alloc(0) };

function answer(
  change: { id?: string; seen?: string; path?: string; sha256?: string; status?: number } = {},
): Received {
  const { id = 'a', seen = 'a', path = '/x', sha256 = EMPTY_SHA256, status = 200 } = change;
  const echoed = { method: 'GET', path, headers: { 'x-call-id': seen }, body: { bytes: 0, sha256 } };
  return { status, headers: { 'x-version': 'v1', 'x-call-id': id }, body: `${JSON.stringify(echoed)}\n` };
}

describe('an answer', () => {
  it('of the request itself is right', () => {
    const tally = openTally();
    tally.receive(sent, answer());
    expect(tally.report()).toMatchObject({ answered: 1, wrong: [], lost: [] });
  });

  it.each([
    ['with the id of another', { id: 'b' }],
    ['for which the service saw another id', { seen: 'b' }],
    ['for which the service saw another path', { path: '/y' }],
    ['for which the service saw another body', { sha256: 'f00' }],
    ['with another status', { status: 404 }],
  ])('%s is wrong', (_, change) => {
    const tally = openTally();
    tally.receive(sent, answer(change));
    expect(tally.report().wrong).toHaveLength(1);
  });

  it('that is cut off is wrong', () => {
    const tally = openTally();
    const { body, ...rest } = answer();
    tally.receive(sent, { ...rest, body: body.slice(0, -5) });
    expect(tally.report().wrong).toHaveLength(1);
  });

  it('of a proxy is a loss unless the request made the service reset', () => {
    const tally = openTally();
    const refusal = { status: 503, headers: {}, body: 'no healthy upstream' };
    tally.receive(sent, refusal);
    expect(tally.report().lost).toHaveLength(1);
    tally.receive({ ...sent, headers: { 'x-reset': 'yes' } }, refusal);
    expect(tally.report()).toMatchObject({ lost: [expect.any(String)], refused: { 503: 2 } });
  });
});

it('reads pipelined answers, with a length or in chunks, however they are cut', () => {
  const stream =
    'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiHTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n3\r\nyou\r\n1\r\n!\r\n0\r\n\r\n';
  for (let cut = 1; cut < stream.length; cut++) {
    const reader = readAnswers();
    const parts = [stream.slice(0, cut), stream.slice(cut)];
    const answers = parts.flatMap((part) => reader.read(Buffer.from(part)));
    expect(answers.map(({ status, body }) => `${status} ${body}`)).toEqual(['200 hi', '404 you!']);
  }
  expect(() => readAnswers().read(Buffer.from('nonsense\r\n\r\n'))).toThrow('not an answer');
});

it('makes the same load from the same seed', () => {
  const draw = (seed: number) => Array.from({ length: 5 }, (_, n) => seeded(seed).below(1_000 + n));
  expect(draw(1)).toEqual(draw(1));
  expect(draw(1)).not.toEqual(draw(2));
});
