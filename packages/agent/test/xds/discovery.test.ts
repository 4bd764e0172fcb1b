/** The state-of-the-world protocol on one stream: what is sent when, and what Envoy's answers mean. */
import type { Message } from '@bufbuild/protobuf';
import { CLUSTER, LISTENER, messageOf, pack } from '@meshpass/envoy';
import { expect, test } from 'vitest';
import { type Answered, discover } from '../../src/xds/discovery.ts';
import { ResourceStore } from '../../src/xds/resource-store.ts';

const TYPE = 'type.googleapis.com/';
interface Response extends Message {
  readonly typeUrl: string;
  readonly nonce: string;
  readonly resources: readonly unknown[];
}

function stream(store: ResourceStore) {
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
  const answers: Answered[] = [];
  const responses: Response[] = [];
  const done = (async () => {
    for await (const one of discover(requests(), store, (answer) => answers.push(answer)))
      responses.push(one as Response);
  })();
  return {
    ...{ answers, responses },
    ask: (type: string, more: object = {}) => {
      const json = { type_url: TYPE + type, ...more };
      waiting.push(messageOf('envoy.service.discovery.v3.DiscoveryRequest', json));
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
  [CLUSTER]: new Map(names.map((name) => [name, pack(messageOf(CLUSTER, { name }))])),
});
const sent = ({ responses }: ReturnType<typeof stream>) =>
  responses.map(({ typeUrl, resources }) => [typeUrl.slice(TYPE.length), resources.length]);
/** Until everything that was asked for has been dealt with. */
const settled = () => new Promise((resolve) => setTimeout(resolve, 20));

test('what is not known yet is sent once it is', async () => {
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

test('the next version waits for the answer to the one before, and is the newest then', async () => {
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
  // It was asked for the newest only now.
  expect(one.answers).toEqual([{ type: CLUSTER, names: [], isNewest: false, rejection: undefined }]);
  one.ask(CLUSTER, { response_nonce: one.responses[1]!.nonce });
  await settled();
  expect(one.answers[1]).toEqual({ type: CLUSTER, names: [], isNewest: true, rejection: undefined });
  await one.end();
});

test('what Envoy rejected is told, and not sent again until it is another', async () => {
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

test('an answer to an earlier response changes nothing', async () => {
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

test('of named resources those are sent that exist, and new names at once', async () => {
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

test('clusters go before the listeners that name them', async () => {
  const store = new ResourceStore();
  const one = stream(store);
  one.ask(LISTENER);
  one.ask(CLUSTER);
  await settled();
  store.set({ ...clusters('a'), [LISTENER]: new Map([['l', pack(messageOf(LISTENER, { name: 'l' }))]]) });
  await settled();
  expect(sent(one)).toEqual([
    [CLUSTER, 1],
    [LISTENER, 1],
  ]);
  await one.end();
});
