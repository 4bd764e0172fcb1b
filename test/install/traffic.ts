/** Traffic between pods that has nothing to do with Meshpass: the same calls all the time, and every answer that is another than before. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Cluster } from '@meshpass/lab/cluster';

export interface Traffic {
  /** @returns number of calls, and the answers that differed from the first ones */
  stop(): Promise<{ readonly calls: number; readonly otherwise: readonly string[] }>;
}

const CALLS = [
  'http://orders.shop:8080/orders/1',
  'http://orders.shop:8080/admin/users',
  'http://orders.shop:9090/',
  'http://web.dev/',
] as const;
const PAUSE_MS = 100;
/** Rounds in a row that must agree at the start: a policy that has just been removed may still end a connection. */
const AGREEING = 3;
const ROUNDS = 20;
/**
 * Runs in the pod until its standard input ends, since `kubectl exec` for each call would keep the machine busy. Writes
 * each answer as a JSON string: body and status, or 000 if there is none.
 */
const CALLER = `
const [pause, ...urls] = process.argv.slice(1);
const call = (url) => new Promise((resolve) => {
  let text = '';
  const none = (error) => resolve(text + error.code + '\\n000');
  const sent = require('node:http').get(url, { agent: false, timeout: 10_000 }, (answer) => {
    answer.setEncoding('utf8').on('data', (part) => { text += part; });
    answer.on('error', none).on('end', () => resolve(text + '\\n' + answer.statusCode));
  });
  sent.on('timeout', () => sent.destroy()).on('error', none);
});
process.stdin.on('end', () => process.exit()).resume();
(async () => {
  for (;;) {
    for (const url of urls) console.log(JSON.stringify(await call(url)));
    await new Promise((resolve) => setTimeout(resolve, Number(pause)));
  }
})();`;
const EXEC = ['exec', '-i', '-n', 'shop', 'deploy/client', '-c', 'client', '--', 'node', '-e', CALLER];

/** @throws Error if the answers are not the same at the start, or a call is not answered */
export async function watchTraffic(cluster: Cluster): Promise<Traffic> {
  const caller = spawn(cluster.binaries.kubectl, [...EXEC, String(PAUSE_MS), ...CALLS], {
    env: cluster.environment(),
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const answers = createInterface({ input: caller.stdout })[Symbol.asyncIterator]();
  const round = async (): Promise<readonly string[] | undefined> => {
    const seen: string[] = [];
    for (const _ of CALLS) {
      const { value, done } = await answers.next();
      if (done) return undefined;
      seen.push((JSON.parse(value) as string).replaceAll(/"(?:x-request-id|traceparent|x-b3-\w+)":"[^"]*"/g, '""'));
    }
    return seen;
  };
  const before = await agreed(round);
  const otherwise: string[] = [];
  let calls = 0;
  let stopped = false;
  const running = (async () => {
    for (let now = await round(); now; now = await round()) {
      calls += now.length;
      for (const [at, answer] of now.entries())
        if (answer !== before[at]) otherwise.push(`${CALLS[at]}: ${answer}, not ${before[at]}`);
    }
    if (!stopped) otherwise.push('the caller in the pod ended by itself');
  })();
  return {
    stop: async () => {
      stopped = true;
      caller.stdin.end();
      await running;
      return { calls, otherwise };
    },
  };
}

async function agreed(round: () => Promise<readonly string[] | undefined>): Promise<readonly string[]> {
  const seen: (readonly string[])[] = [];
  while (seen.length < ROUNDS) {
    const now = await round();
    if (!now) throw new Error('the caller in the pod ended by itself');
    seen.push(now);
    const last = seen.slice(-AGREEING).map((one) => JSON.stringify(one));
    if (last.length < AGREEING || new Set(last).size > 1) continue;
    // 000 or 5xx: not answered.
    if (!now.every((answer) => /(?:^|\n)[1-4]\d\d$/.test(answer)))
      throw new Error(`a call is not answered to begin with: ${last[0]}`);
    return now;
  }
  throw new Error(`a call is answered in more than one way to begin with: ${JSON.stringify(seen)}`);
}
