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
/** Looks in a row that must agree before they are what is answered: policies that somebody has just removed may still end a connection. */
const AGREEING = 3;
const LOOKS = 20;

export async function watchTraffic(cluster: Cluster): Promise<Traffic> {
  const look = async (url: string): Promise<string> => {
    const curl = ['curl', '-s', '-m', '10', '-w', '\n%{http_code}', url];
    const { stdout } = await cluster.kubectl(['exec', '-n', 'shop', 'deploy/client', '-c', 'client', '--', ...curl]);
    return stdout.replaceAll(/"(?:x-request-id|traceparent|x-b3-\w+)":"[^"]*"/g, '""');
  };
  const agreed = async (url: string): Promise<string> => {
    const seen: string[] = [];
    while (seen.length < LOOKS) {
      seen.push(await look(url));
      const last = seen.slice(-AGREEING);
      if (last.length === AGREEING && new Set(last).size === 1) return last[0]!;
    }
    throw new Error(`a call is answered in more than one way to begin with: ${JSON.stringify([url, ...seen])}`);
  };
  const before = new Map<string, string>();
  for (const url of CALLS) before.set(url, await agreed(url));
  // 000 or 5xx: not answered. Nothing at all: the call itself could not be made, and would never be other than that.
  if (![...before.values()].every((answer) => /(?:^|\n)[1-4]\d\d$/.test(answer)))
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
