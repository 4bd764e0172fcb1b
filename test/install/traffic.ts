/** Traffic between pods that has nothing to do with Meshpass: the same calls all the time, and every answer that is another than before. */
import type { Cluster } from '@meshpass/lab/cluster';

export interface Traffic {
  /** @returns how many calls were made, and what was otherwise than at first */
  stop(): Promise<{ readonly calls: number; readonly otherwise: readonly string[] }>;
}

/** Of each call: status and body as the caller sees them. */
const CALLS = [
  'http://orders.shop:8080/orders/1',
  'http://orders.shop:8080/admin/users',
  'http://orders.shop:9090/',
  'http://web.dev/',
] as const;
const PAUSE_MS = 100;

export async function watchTraffic(cluster: Cluster): Promise<Traffic> {
  const look = async (url: string): Promise<string> => {
    const curl = ['curl', '-s', '-m', '10', '-w', '\n%{http_code}', url];
    const { stdout } = await cluster.kubectl(['exec', '-n', 'shop', 'deploy/client', '-c', 'client', '--', ...curl]);
    return stdout.replaceAll(/"(?:x-request-id|traceparent|x-b3-\w+)":"[^"]*"/g, '""');
  };
  const before = new Map<string, string>();
  for (const url of CALLS) before.set(url, await look(url));
  // 000: not answered. Nothing at all: the call itself could not be made, and would never be other than that.
  if (![...before.values()].every((answer) => /(?:^|\n)[1-5]\d\d$/.test(answer)))
    throw new Error(`a call is not answered to begin with: ${JSON.stringify([...before])}`);
  const otherwise: string[] = [];
  let calls = 0;
  let stopped = false;
  const running = (async () => {
    while (!stopped) {
      for (const url of CALLS) {
        const answer = await look(url);
        calls += 1;
        if (answer !== before.get(url)) otherwise.push(`${url}: ${answer}, not ${before.get(url)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  })();
  return {
    stop: async () => {
      stopped = true;
      await running;
      return { calls, otherwise };
    },
  };
}
