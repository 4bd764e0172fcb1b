/** The Telemetry API. What istiod tells the workspace's own proxy to report is not seen by these calls. */
import { randomBytes } from 'node:crypto';
import type { Case } from '../case.ts';
import { echoed, get, newId } from '../observe.ts';
import { telemetry } from '../rules.ts';

export const telemetryRules: readonly Case[] = [
  {
    feature: 'Access logging at the service',
    rule: 'Telemetry with provider `envoy` for echo.shop',
    apply: [telemetry('echo', { accessLogging: [{ providers: [{ name: 'envoy' }] }] })],
    observe: async (world) => {
      const path = `/logged/${newId()}`;
      await get(world, path);
      // Envoy writes its log every few seconds at the latest.
      for (let tries = 0; tries < 50; tries++) {
        if (world.loggedByService(path)) return 'logged';
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      return 'not logged';
    },
    expected: 'logged',
  },
  {
    feature: 'Trace propagation',
    rule: 'Telemetry with provider `lab-zipkin` for echo.shop',
    apply: [telemetry('echo', { tracing: [{ providers: [{ name: 'lab-zipkin' }], randomSamplingPercentage: 100 }] })],
    observe: async (world) => {
      const [trace, span] = [randomBytes(16).toString('hex'), randomBytes(8).toString('hex')];
      const b3 = { 'x-b3-traceid': trace, 'x-b3-spanid': span, 'x-b3-sampled': '1' };
      const { headers } = echoed(await get(world, '/traced', b3));
      const same = (name: string, sent: string): string => (headers[name] === sent ? 'the same' : 'another');
      return `${same('x-b3-traceid', trace)} trace, ${same('x-b3-spanid', span)} span`;
    },
    expected: 'the same trace, another span',
  },
];
