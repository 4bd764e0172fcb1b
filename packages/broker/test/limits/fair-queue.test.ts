import type { MeshpassError } from '@meshpass/identity';
import { describe, expect, it } from 'vitest';
import { createFairQueue, type QueuePriority } from '../../src/mesh/istiod/fair-queue.ts';

const limit = { arrival: 100, renewal: 100, return: 100 };

/** A queue of one place, which is occupied until `go` is called. `served` lists later entries in the order of service. */
async function held(options: Partial<Parameters<typeof createFairQueue>[0]> = {}) {
  const queue = createFairQueue({ concurrency: 1, limit, deadline: 5_000, ...options });
  const served: string[] = [];
  let go = (): void => {};
  await new Promise<void>((started) => {
    const work = (): Promise<void> =>
      new Promise((resolve) => {
        go = resolve;
        started();
      });
    void queue.run('arrival', work);
  });
  const enter = (line: QueuePriority, name: string = line, signal?: AbortSignal) =>
    queue.run(line, async () => void served.push(name), signal);
  return { queue, served, enter, go: () => go() };
}

describe('the queue of certificates', () => {
  it('serves six renewals for one arrival while both wait, and never forgets either', async () => {
    const { served, enter, go } = await held();
    const all = [...Array(4).fill('arrival'), ...Array(24).fill('renewal')].map((line) => enter(line));
    go();
    await Promise.all(all);
    const arrivalsIn = (from: number, to: number) => served.slice(from, to).filter((line) => line === 'arrival').length;
    expect(served).toHaveLength(28);
    expect(arrivalsIn(0, 8)).toBe(1);
    expect(arrivalsIn(8, 15)).toBe(1);
    expect(arrivalsIn(15, 22)).toBe(1);
  });

  it('lets neither a renewal nor an arrival wait behind those that return', async () => {
    const { served, enter, go } = await held();
    const all = [...Array(40).fill('return'), 'arrival', 'renewal', 'renewal'].map((line) => enter(line));
    go();
    await Promise.all(all);
    expect(served.indexOf('arrival')).toBeLessThan(4);
    expect(served.lastIndexOf('renewal')).toBeLessThan(4);
    expect(served).toHaveLength(43);
  });

  it('serves one that returns for each arrival while both wait, and neither starves by renewals', async () => {
    const { served, enter, go } = await held({ deadline: 60_000 });
    const all = [...Array(10).fill('arrival'), ...Array(10).fill('return'), ...Array(60).fill('renewal')].map((line) =>
      enter(line),
    );
    go();
    await Promise.all(all);
    // The request that occupied the queue was an arrival as well.
    const order = ['arrival', ...served].slice(0, 41);
    for (const line of ['arrival', 'return']) {
      const within = order.filter((one) => one === line).length;
      expect(within).toBe(5);
    }
  });

  it('gives each refused caller another time to retry, as far apart as the work takes, and refuses before anything is written', async () => {
    const { queue, enter, go } = await held({ limit: { arrival: 1, renewal: 1, return: 1 } });
    const waiting = enter('return');
    const times = Array.from({ length: 400 }, () => {
      try {
        queue.assertRoom('return');
      } catch (thrown) {
        return (thrown as MeshpassError).retryAfter!;
      }
      return 0;
    });
    // With one place, the queue assumes 0.1 s for each entry until it has measured one.
    expect(times.at(0)).toBe(1);
    expect(times.at(-1)).toBeGreaterThan(35);
    expect(times).toEqual(times.toSorted((a, b) => a - b));
    expect(() => queue.assertRoom('arrival')).not.toThrow();
    go();
    await waiting;
    expect(() => queue.assertRoom('return')).not.toThrow();
  });

  it('refuses at once an entry that would wait too long, even in a short line', async () => {
    const { queue, enter, go } = await held({ deadline: 250 });
    const waiting = Array.from({ length: 3 }, () => enter('renewal').catch(() => {}));
    expect(() => queue.assertRoom('renewal')).toThrow();
    expect(() => queue.assertRoom('arrival')).not.toThrow();
    go();
    await Promise.all(waiting);
  });

  it('serves each line in order of arrival', async () => {
    const { served, enter, go } = await held();
    const all = ['a', 'b', 'c'].map((name) => enter('arrival', name));
    go();
    await Promise.all(all);
    expect(served).toEqual(['a', 'b', 'c']);
  });

  it('runs no more at once than it may', async () => {
    const queue = createFairQueue({ concurrency: 3, limit, deadline: 5_000 });
    let now = 0;
    let most = 0;
    const work = async (): Promise<void> => {
      most = Math.max(most, ++now);
      await new Promise((resolve) => setImmediate(resolve));
      now -= 1;
    };
    await Promise.all(Array.from({ length: 20 }, () => queue.run('arrival', work)));
    expect(most).toBe(3);
    expect(queue.depth()).toEqual({ arrival: 0, renewal: 0, return: 0, running: 0 });
  });

  it('refuses at once if the line is full, and says when to retry', async () => {
    const { enter, go } = await held({ limit: { arrival: 1, renewal: 1, return: 1 } });
    const waiting = enter('arrival');
    const error = await enter('arrival').catch((thrown: MeshpassError) => thrown);
    expect(error).toMatchObject({ code: 'overloaded', status: 503 });
    expect((error as MeshpassError).retryAfter).toBeGreaterThanOrEqual(1);
    const other = enter('renewal');
    go();
    await Promise.all([waiting, other]);
  });

  it('refuses work that has waited too long, or that its caller gave up, without doing it', async () => {
    const { queue, served, enter, go } = await held({ deadline: 30 });
    const gaveUp = new AbortController();
    const one = enter('arrival', 'given up', gaveUp.signal).catch((thrown: MeshpassError) => thrown.code);
    const two = enter('renewal', 'late').catch((thrown: MeshpassError) => thrown.code);
    gaveUp.abort();
    expect(await one).toBe('overloaded');
    expect(await two).toBe('overloaded');
    expect(queue.depth()).toEqual({ arrival: 0, renewal: 0, return: 0, running: 1 });
    go();
    await enter('arrival', 'next');
    expect(served).toEqual(['next']);
  });

  it('aborts the signal of work that exceeds its time', async () => {
    const queue = createFairQueue({ concurrency: 1, limit, deadline: 20 });
    const ended = await queue.run(
      'arrival',
      (signal) => new Promise((resolve) => signal.addEventListener('abort', () => resolve('told'))),
    );
    expect(ended).toBe('told');
  });

  it('releases the place when the work fails', async () => {
    const queue = createFairQueue({ concurrency: 1, limit, deadline: 1_000 });
    await expect(queue.run('arrival', () => Promise.reject(new Error('broken')))).rejects.toThrow('broken');
    expect(await queue.run('arrival', async () => 'works')).toBe('works');
  });
});
