/** Behaviour of a proxy when things go wrong, and ways to make them go wrong. */
import type { Case, World } from '../case.ts';
import { countAnswers, get, kinds, newId, statusOf } from '../observe.ts';
import { ANY, destinationRule, V1, virtualService } from '../rules.ts';

const ONE_CONNECTION = {
  connectionPool: { tcp: { maxConnections: 1 }, http: { http1MaxPendingRequests: 1, http2MaxRequests: 1 } },
};
const EJECT = { consecutive5xxErrors: 3, interval: '1s', baseEjectionTime: '8s', maxEjectionPercent: 100 };

/** An earlier try may have ejected v2: it comes back after 8 s, after 16 s the second time, and so on. */
const BACK_MS = 30_000;
const ONE_POD = 'one pod alone is asked';
/** An Envoy ejects on its main thread, at the next interval at the latest; until then its workers keep sending requests. */
const EJECTED_MS = 5_000;

/** Ten calls at a time, until their answers are as wanted. @returns whether that came in time */
async function callUntil(
  world: World,
  wanted: (answers: ReadonlyMap<string, number>) => boolean,
  patienceMs: number,
): Promise<boolean> {
  for (const end = Date.now() + patienceMs; Date.now() < end; ) if (wanted(await countAnswers(world, 10))) return true;
  return false;
}

export const resilience: readonly Case[] = [
  {
    feature: 'Retries',
    rule: 'three attempts on 5xx',
    apply: [virtualService([{ retries: { attempts: 3, retryOn: '5xx', backoff: '10ms' }, route: [ANY] }])],
    observe: async (world) => {
      const id = newId();
      const headers = { 'x-call-id': id, 'x-fail-times': '1', 'x-status': '500' };
      const { status } = await get(world, '/retries', headers);
      const [one, two] = await Promise.all([world.seenBy('v1', id), world.seenBy('v2', id)]);
      return one.length + two.length > 1 && status === 200 ? '200 after a retry' : `${status}`;
    },
    expected: '200 after a retry',
  },
  {
    feature: 'Timeout',
    rule: '300 ms',
    apply: [virtualService([{ timeout: '0.3s', retries: { attempts: 0 }, route: [ANY] }])],
    observe: (world) => statusOf(world, '/slow', { 'x-delay-ms': '2000' }),
    expected: '504',
  },
  {
    feature: 'Abort fault',
    rule: '418 on a header',
    apply: [
      virtualService([
        {
          match: [{ headers: { 'x-break': { exact: 'yes' } } }],
          fault: { abort: { httpStatus: 418, percentage: { value: 100 } } },
          route: [ANY],
        },
        { route: [ANY] },
      ]),
    ],
    observe: async (world) =>
      `${await statusOf(world, '/break', { 'x-break': 'yes' })} with the header, ${await statusOf(world, '/break')} without`,
    expected: '418 with the header, 200 without',
  },
  {
    feature: 'Delay fault',
    rule: 'a second',
    apply: [virtualService([{ fault: { delay: { fixedDelay: '1s', percentage: { value: 100 } } }, route: [ANY] }])],
    observe: async (world) => {
      const { status, ms } = await get(world, '/late');
      return `${status} ${ms >= 990 ? 'after the delay' : 'at once'}`;
    },
    expected: '200 after the delay',
  },
  {
    feature: 'Mirroring',
    rule: 'to v1, a copy to v2',
    apply: [
      destinationRule(),
      virtualService([{ route: [V1], mirror: { ...ANY.destination, subset: 'v2' }, mirrorPercentage: { value: 100 } }]),
    ],
    observe: async (world) => {
      const id = newId();
      const { headers } = await get(world, '/mirrored', { 'x-call-id': id });
      // Callers do not wait for the copy.
      for (let tries = 0; tries < 20 && headers['x-version'] === 'v1'; tries++) {
        const copies = await world.seenBy('v2', id);
        if (copies.length > 0) return 'v1 answers, v2 gets a copy';
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      return `${headers['x-version']} answers, nothing more`;
    },
    expected: 'v1 answers, v2 gets a copy',
  },
  {
    feature: 'Outlier detection, one pod',
    rule: 'subset v1 is ejected after three 5xx',
    apply: [destinationRule({ outlierDetection: EJECT }), virtualService([{ retries: { attempts: 0 }, route: [V1] }])],
    observe: async (world) => {
      for (let n = 0; n < 4; n++) await get(world, '/fails', { 'x-status': '500' });
      const answers = [await get(world, '/then'), await get(world, '/then')];
      return `${answers.map(({ status }) => status).join(', ')} after the errors`;
    },
    expected: '503, 503 after the errors',
  },
  {
    feature: 'Outlier detection, one of two pods',
    rule: 'a pod is ejected after three 5xx',
    once: true,
    apply: [destinationRule({ outlierDetection: EJECT }), virtualService([{ retries: { attempts: 0 }, route: [ANY] }])],
    observe: async (world) => {
      if (!(await callUntil(world, (answers) => answers.has('v1') && answers.has('v2'), BACK_MS))) return ONE_POD;
      await world.setMode('v2', 500);
      try {
        if (!(await callUntil(world, (answers) => answers.has('500'), BACK_MS))) return ONE_POD;
        await callUntil(world, (answers) => !answers.has('500'), EJECTED_MS);
        return `${kinds(await countAnswers(world, 40))} once v2 fails`;
      } finally {
        await world.setMode('v2', 200);
      }
    },
    expected: 'v1 once v2 fails',
  },
  {
    feature: 'Connection pool limits',
    rule: 'one request at a time',
    apply: [destinationRule(ONE_CONNECTION), virtualService([{ retries: { attempts: 0 }, route: [ANY] }])],
    observe: async (world) => {
      const call = () => get(world, '/busy', { 'x-delay-ms': '300' });
      const answers = await Promise.all(Array.from({ length: 12 }, call));
      const refused = answers.filter(({ status, body }) => status === 503 && !body.startsWith('{')).length;
      return `${refused > 0 ? 'some' : 'none'} of twelve refused with 503`;
    },
    expected: 'some of twelve refused with 503',
  },
  {
    feature: 'Consistent hashing',
    rule: 'by header `x-user`',
    apply: [destinationRule({ loadBalancer: { consistentHash: { httpHeaderName: 'x-user' } } })],
    observe: async (world) => {
      const users = Array.from({ length: 16 }, (_, n) => `user-${n}`);
      const pods = await Promise.all(users.map((user) => countAnswers(world, 5, () => ({ 'x-user': user }))));
      const all = new Set(pods.flatMap((counts) => [...counts.keys()]));
      const sticky = pods.every((counts) => counts.size === 1);
      return `${sticky ? 'each user has one pod' : 'users change pods'}, ${all.size} pods in use`;
    },
    expected: 'each user has one pod, 2 pods in use',
  },
];
