/** Operators list live sessions in pages: complete and without duplicates, even if sessions open or end between two of them. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Harness, session } from '../harness/broker.ts';
import { asOperator, type SignedIn, signIn, startWithOperators } from '../harness/operators.ts';

let harness: Harness;
let ada: SignedIn;
let ids: string[];

beforeAll(async () => {
  harness = await startWithOperators();
  ada = await signIn(harness, 'ada', ['viewer', 'operator']);
  const opened = await Promise.all(['ann', 'ben', 'cid', 'dot', 'eve'].map((who) => session(harness, who)));
  ids = opened.map((one) => one.session.id).sort();
});
afterAll(() => harness?.stop());

async function page(query: string): Promise<{ ids: string[]; next: string | undefined }> {
  const { status, json } = await asOperator(harness, ada, { path: `/admin/sessions${query}` });
  expect(status).toBe(200);
  return { ids: json.sessions.map(({ id }: { id: string }) => id), next: json.next };
}

it('each page says where the next one begins, and the last one that it is the last', async () => {
  expect(await page('?limit=2')).toEqual({ ids: ids.slice(0, 2), next: ids[1] });
  expect(await page(`?limit=2&after=${ids[1]}`)).toEqual({ ids: ids.slice(2, 4), next: ids[3] });
  expect(await page(`?limit=2&after=${ids[3]}`)).toEqual({ ids: ids.slice(4), next: undefined });
  // A page that is just full, and nothing behind it.
  expect(await page('?limit=5')).toEqual({ ids, next: undefined });
  expect(await page('')).toEqual({ ids, next: undefined });
});

it('a page is filled with those that are selected', async () => {
  expect((await page('?user=idp:eve&limit=1')).ids).toHaveLength(1);
  expect(await page('?grant=dev&limit=4')).toEqual({ ids: ids.slice(0, 4), next: ids[3] });
  expect(await page(`?grant=dev&after=${ids[3]}`)).toEqual({ ids: ids.slice(4), next: undefined });
  expect(await page(`?user=idp:nobody&after=${ids[0]}`)).toEqual({ ids: [], next: undefined });
});

it('one that ends between two pages, also the one that the next begins after, moves no other', async () => {
  const first = await page('?limit=2');
  const close = { method: 'POST', path: '/admin/sessions/close', body: JSON.stringify({ id: first.next }) };
  expect((await asOperator(harness, ada, close)).json.closed).toEqual([first.next]);
  expect((await page(`?limit=2&after=${first.next}`)).ids).toEqual(ids.slice(2, 4));
});

it.each(['limit=0', 'limit=1001', 'limit=some', 'after=', `after=${'x'.repeat(256)}`, 'offset=2'])(
  'refuses %s and names the parameters',
  async (query) => {
    const answer = await asOperator(harness, ada, { path: `/admin/sessions?${query}` });
    expect(answer).toMatchObject({ status: 400, json: { error_code: 'request_malformed' } });
    expect(answer.json.error_description).toContain(
      'Valid parameters are id, user, subject, workspace, grant, after, limit.',
    );
  },
);
