/** When the label of the active broker's Pod is written. */
import { expect, it } from 'vitest';
import { createActiveLabel } from '../../src/mesh/kubernetes/active-label.ts';

/** Plays a Kubernetes with one Pod, which completes each write on request. */
function pod() {
  const asked: { readonly active: string; readonly take: () => void; readonly fail: () => void }[] = [];
  const call = ({ body }: { readonly body?: unknown }) =>
    new Promise<{ status: number; body: undefined }>((resolve, reject) => {
      const { metadata } = body as { metadata: { labels: Record<string, string> } };
      asked.push({
        active: metadata.labels['meshpass.dev/active']!,
        take: () => resolve({ status: 200, body: undefined }),
        fail: () => reject(new Error('away')),
      });
    });
  const failures: unknown[] = [];
  const label = createActiveLabel({
    http: { call } as never,
    namespace: 'meshpass-system',
    pod: 'broker',
    intervalMs: 1,
    onFailure: (cause) => failures.push(cause),
  });
  return { label, asked, failures };
}

it('is written again while it stays, because a removed label would divert every request', async () => {
  const { label, asked } = pod();
  label.set(true);
  for (const count of [1, 2, 3]) {
    await expect.poll(() => asked.length).toBe(count);
    asked.at(-1)!.take();
  }
  label.close();
  expect(asked.map(({ active }) => active)).toEqual(['true', 'true', 'true']);
});

it.each(['take', 'fail'] as const)(
  'is not written while an earlier write is under way, which Kubernetes could do later (%s)',
  async (end) => {
    const { label, asked, failures } = pod();
    label.set(false);
    await expect.poll(() => asked.length).toBe(1);
    label.set(true);
    await new Promise((resolve) => setImmediate(resolve));
    expect(asked.map(({ active }) => active)).toEqual(['false']);
    asked[0]![end]();
    await expect.poll(() => asked.map(({ active }) => active)).toEqual(['false', 'true']);
    label.close();
    asked[1]!.take();
    // A write that is no longer wanted has not failed.
    expect(failures).toEqual([]);
  },
);

it('of a broker that ends is removed after calls in progress, within a limit', async () => {
  const { label, asked } = pod();
  label.set(true);
  await expect.poll(() => asked.length).toBe(1);
  let left = false;
  const leaving = label.leave().then(() => {
    left = true;
  });
  asked[0]!.take();
  await expect.poll(() => asked.map(({ active }) => active)).toEqual(['true', 'false']);
  expect(left).toBe(false);
  asked[1]!.take();
  await leaving;
  label.close();

  const { label: unheard } = pod();
  await unheard.leave();
  unheard.close();
});
