/** VirtualServices and DestinationRules: where a request goes, and as what. */
import { type Case, ECHO_URL } from '../case.ts';
import { countAnswers, echoed, get, kinds, newId, statusOf } from '../observe.ts';
import { ANY, destinationRule, V1, V2, virtualService } from '../rules.ts';

const UUID = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}';

export const routing: readonly Case[] = [
  {
    feature: 'Header routing to subsets',
    rule: '`x-want: v2` to subset v2, all else to v1',
    apply: [
      destinationRule(),
      virtualService([{ match: [{ headers: { 'x-want': { exact: 'v2' } } }], route: [V2] }, { route: [V1] }]),
    ],
    observe: async (world) => {
      const marked = await countAnswers(world, 10, () => ({ 'x-want': 'v2' }));
      return `${kinds(marked)} with the header, ${kinds(await countAnswers(world, 10))} without`;
    },
    expected: 'v2 with the header, v1 without',
  },
  {
    feature: 'Weight routing to subsets',
    rule: '10 % to v1, 90 % to v2',
    apply: [
      destinationRule(),
      virtualService([
        {
          route: [
            { ...V1, weight: 10 },
            { ...V2, weight: 90 },
          ],
        },
      ]),
    ],
    observe: async (world) => {
      const counts = await countAnswers(world, 200);
      const share = (counts.get('v1') ?? 0) / 200;
      return share > 0.03 && share < 0.18 && kinds(counts) === 'v1 and v2' ? 'a tenth from v1' : kinds(counts);
    },
    expected: 'a tenth from v1',
  },
  {
    feature: 'Regular expression',
    rule: '418 for a path with two UUIDs',
    apply: [
      virtualService([
        {
          match: [{ uri: { regex: `/orders/${UUID}/items/${UUID}` } }],
          fault: { abort: { httpStatus: 418, percentage: { value: 100 } } },
          route: [ANY],
        },
        { route: [ANY] },
      ]),
    ],
    observe: async (world) =>
      `${await statusOf(world, `/orders/${newId()}/items/${newId()}`)} with them, ${await statusOf(world, '/orders/1')} without`,
    expected: '418 with them, 200 without',
  },
  {
    feature: 'Rewrite',
    rule: '`/old/` to `/new/`, another authority',
    apply: [
      virtualService([
        {
          match: [{ uri: { prefix: '/old/' } }],
          rewrite: { uri: '/new/', authority: 'echo.internal' },
          route: [ANY],
        },
      ]),
    ],
    observe: async (world) => {
      const { path, headers } = echoed(await get(world, '/old/1'));
      return `${path} at ${headers.host}`;
    },
    expected: '/new/1 at echo.internal',
  },
  {
    feature: 'Encoded path',
    rule: '`/caf%C3%A9BAR` to `/th%C3%A9BAR`',
    apply: [
      virtualService([
        { match: [{ uri: { exact: '/caf%C3%A9BAR' } }], rewrite: { uri: '/th%C3%A9BAR' }, route: [ANY] },
        { route: [ANY] },
      ]),
    ],
    observe: async (world) => {
      const path = async (asked: string): Promise<string> => echoed(await get(world, asked)).path;
      return `${await path('/caf%C3%A9BAR')}, and ${await path('/other')}`;
    },
    expected: '/th%C3%A9BAR, and /other',
  },
  {
    feature: 'Redirect',
    rule: '308 to `/moved`',
    apply: [virtualService([{ redirect: { uri: '/moved', redirectCode: 308 } }])],
    observe: async (world) => {
      const { status, headers } = await get(world, '/here');
      return headers.location === undefined ? `${status}` : `${status} to ${headers.location}`;
    },
    expected: `308 to ${ECHO_URL}/moved`,
  },
  {
    feature: 'Header operations',
    rule: 'set and remove, in request and answer',
    apply: [
      virtualService([
        {
          headers: {
            request: { set: { 'x-added': 'yes' }, remove: ['x-private'] },
            response: { set: { 'x-answered': 'yes' }, remove: ['x-version'] },
          },
          route: [ANY],
        },
      ]),
    ],
    observe: async (world) => {
      const answer = await get(world, '/headers', { 'x-private': 'mine' });
      const { headers } = echoed(answer);
      const names = (all: object): string =>
        Object.keys(all)
          .filter((name) => INTERESTING.test(name))
          .join(', ');
      return `the service sees ${names(headers)}; the caller sees ${names(answer.headers)}`;
    },
    expected: 'the service sees x-added; the caller sees x-answered',
  },
  {
    feature: 'CORS',
    rule: 'one origin, method PUT',
    apply: [
      virtualService([
        { corsPolicy: { allowOrigins: [{ exact: 'https://app.example' }], allowMethods: ['PUT'] }, route: [ANY] },
      ]),
    ],
    observe: async (world) => {
      const preflight = async (origin: string): Promise<string> => {
        const headers = { origin, 'access-control-request-method': 'PUT' };
        const answer = await world.call({ do: 'http', method: 'OPTIONS', url: `${ECHO_URL}/cors`, headers });
        const allowed = answer.headers['access-control-allow-origin'];
        return allowed ? `${allowed} allowed` : answer.status === 421 ? 'refused with 421' : 'nothing allowed';
      };
      return `${await preflight('https://app.example')}, of another origin ${await preflight('https://b.example')}`;
    },
    expected: 'https://app.example allowed, of another origin nothing allowed',
  },
];

const INTERESTING = /^x-(added|private|answered|version)$/;
