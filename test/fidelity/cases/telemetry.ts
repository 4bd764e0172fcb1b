/** Telemetry API. These calls do not see reports of the workspace's own proxy. */
import { randomBytes } from 'node:crypto';
import type { Case, World } from '../case.ts';
import { echoed, get, newId } from '../observe.ts';
import { telemetry } from '../rules.ts';

export const telemetryRules: readonly Case[] = [
  {
    feature: 'Telemetry API: access logging',
    rule: "echo.shop logs the caller's principal",
    once: true,
    apply: [telemetry('echo', { accessLogging: [{ providers: [{ name: 'lab-principals' }] }] })],
    observe: async (world) => {
      const line = await logLine(world);
      return line === undefined ? 'not logged' : world.principal.test(line) ? 'logged by its principal' : line;
    },
    expected: 'logged by its principal',
  },
  {
    feature: 'Telemetry API: trace propagation',
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

/** A call's line in the log of the service's sidecar, which Envoy writes every ten seconds. */
async function logLine(world: World): Promise<string | undefined> {
  const path = `/logged/${newId()}`;
  await get(world, path);
  for (let tries = 0; tries < 120; tries++) {
    const line = world.loggedByService(path);
    if (line !== undefined) return line;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return undefined;
}
