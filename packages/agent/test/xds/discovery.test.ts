/**
 * The state-of-the-world protocol on one stream: the order of responses, and the meaning of Envoy's acknowledgements.
 */
import type { Message } from '@bufbuild/protobuf';
import { CLUSTER, LISTENER, messageFromJson, pack } from '@meshpass/envoy';
import { expect, test } from 'vitest';
import { type DiscoveryAck, ResourceStore, serveDiscovery } from '../../src/xds/discovery.ts';

const TYPE = 'type.googleapis.com/';
interface Response extends Message {
  readonly typeUrl: string;
  readonly nonce: string;
  readonly resources: readonly unknown[];
}

function stream(store: ResourceStore, taken: () => void = () => {}) {
  const waiting: Message[] = [];
  let wake = () => {};
  let ended = false;
  async function* requests() {
    while (!ended) {
      while (waiting.length > 0) yield waiting.shift()!;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }
  const answers: DiscoveryAck[] = [];
  const responses: Response[] = [];
  const done = (async () => {
    for await (const one of serveDiscovery(requests(), store, (answer) => answers.push(answer))) {
      responses.push(one as Response);
      taken();
    }
  })();
  return {
    answers,
    responses,
    ask: (type: string, more: object = {}) => {
      const json = { type_url: TYPE + type, ...more };
      waiting.push(messageFromJson('envoy.service.discovery.v3.DiscoveryRequest', json));
      wake();
    },
    end: async () => {
      ended = true;
      wake();
      await done;
    },
  };
}

const clusters = (...names: string[]) => ({
  [CLUSTER]: new Map(names.map((name) => [name, pack(messageFromJson(CLUSTER, { name }))])),
});
const sent = ({ responses }: ReturnType<typeof stream>) =>
  responses.map(({ typeUrl, resources }) => [typeUrl.slice(TYPE.length), resources.length]);
/** Waits until all requests have been processed. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

test('sends resources once they are known', async () => {
  const store = new ResourceStore();
  const one = stream(store);
  one.ask(CLUSTER);
  await settled();
  expect(one.responses).toEqual([]);
  store.set(clusters('a'));
  await settled();
  expect(sent(one)).toEqual([[CLUSTER, 1]]);
  await one.end();
});

test('sends the latest version after Envoy has acknowledged the previous one', async () => {
  const store = new ResourceStore();
  store.set(clusters('a'));
  const one = stream(store);
  one.ask(CLUSTER);
  await settled();
  store.set(clusters('a', 'b'));
  store.set(clusters('a', 'b', 'c'));
  await settled();
  expect(sent(one)).toEqual([[CLUSTER, 1]]);
  one.ask(CLUSTER, { response_nonce: one.responses[0]!.nonce });
  await settled();
  expect(sent(one)).toEqual([
    [CLUSTER, 1],
    [CLUSTER, 3],
  ]);
  // The latest version was sent only after this acknowledgement.
  expect(one.answers).toEqual([{ type: CLUSTER, names: [], isNewest: false, rejection: undefined }]);
  one.ask(CLUSTER, { response_nonce: one.responses[1]!.nonce });
  await settled();
  expect(one.answers[1]).toEqual({ type: CLUSTER, names: [], isNewest: true, rejection: undefined });
  await one.end();
});

test('reports rejected resources, and does not send them again until they change', async () => {
  const store = new ResourceStore();
  store.set(clusters('a'));
  const one = stream(store);
  one.ask(CLUSTER);
  await settled();
  one.ask(CLUSTER, { response_nonce: one.responses[0]!.nonce, error_detail: { code: 13, message: 'no such thing' } });
  await settled();
  expect(one.answers).toEqual([{ type: CLUSTER, names: [], isNewest: true, rejection: 'no such thing' }]);
  store.set(clusters('a'));
  await settled();
  expect(one.responses).toHaveLength(1);
  store.set(clusters('b'));
  await settled();
  expect(one.responses).toHaveLength(2);
  await one.end();
});

test('ignores an acknowledgement of an earlier response', async () => {
  const store = new ResourceStore();
  store.set(clusters('a'));
  const one = stream(store);
  one.ask(CLUSTER);
  await settled();
  one.ask(CLUSTER, { response_nonce: 'of long ago', error_detail: { code: 13, message: 'late' } });
  await settled();
  expect(one.answers).toEqual([]);
  await one.end();
});

test('sends the named resources that exist, and new names immediately', async () => {
  const store = new ResourceStore();
  store.set(clusters('a', 'b'));
  const one = stream(store);
  one.ask(CLUSTER, { resource_names: ['a', 'nowhere'] });
  await settled();
  expect(sent(one)).toEqual([[CLUSTER, 1]]);
  one.ask(CLUSTER, { resource_names: ['a', 'b'], response_nonce: one.responses[0]!.nonce });
  await settled();
  expect(sent(one).at(-1)).toEqual([CLUSTER, 2]);
  await one.end();
});

test('sends clusters before the listeners that refer to them', async () => {
  const store = new ResourceStore();
  const one = stream(store);
  one.ask(LISTENER);
  one.ask(CLUSTER);
  await settled();
  store.set({ ...clusters('a'), [LISTENER]: new Map([['l', pack(messageFromJson(LISTENER, { name: 'l' }))]]) });
  await settled();
  expect(sent(one)).toEqual([
    [CLUSTER, 1],
    [LISTENER, 1],
  ]);
  await one.end();
});

const listeners = (...names: string[]) => ({
  [LISTENER]: new Map(names.map((name) => [name, pack(messageFromJson(LISTENER, { name }))])),
});

/** Acknowledges the first response with clusters; then both types of the change arrive in order. */
async function expectBothAfter(one: ReturnType<typeof stream>, responses: number) {
  expect(sent(one)).toHaveLength(responses);
  one.ask(CLUSTER, { response_nonce: one.responses[0]!.nonce });
  await settled();
  expect(sent(one).slice(responses)).toEqual([
    [CLUSTER, 2],
    [LISTENER, 2],
  ]);
  await one.end();
}

test('sends no listeners while the clusters that they refer to wait for an acknowledgement', async () => {
  const store = new ResourceStore();
  const one = stream(store);
  one.ask(CLUSTER);
  one.ask(LISTENER);
  await settled();
  store.set({ ...clusters('a'), ...listeners('l') });
  await settled();
  one.ask(LISTENER, { response_nonce: one.responses[1]!.nonce });
  store.set({ ...clusters('a', 'b'), ...listeners('l', 'm') });
  await settled();
  await expectBothAfter(one, 2);
});

test('sends no listeners of a change that arrives while the stream takes the previous clusters', async () => {
  const store = new ResourceStore();
  let changes = 0;
  const one = stream(store, () => {
    if (changes++ === 0) store.set({ ...clusters('a', 'b'), ...listeners('l', 'm') });
  });
  one.ask(CLUSTER);
  one.ask(LISTENER);
  await settled();
  store.set({ ...clusters('a'), ...listeners('l') });
  await settled();
  expect(sent(one)).toEqual([[CLUSTER, 1]]);
  await expectBothAfter(one, 1);
});
