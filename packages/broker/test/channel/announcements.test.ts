import { generateKeyPairSync } from 'node:crypto';
import { expect, test } from 'vitest';
import { createAnnouncements } from '../../src/core/channel/configurations.ts';
import { createStatementKeys } from '../../src/core/channel/statement-key.ts';
import type { Session } from '../../src/core/session/session.ts';

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const keys = createStatementKeys({ ring: { signing: { kid: 'one', privateKey } } } as never);
const holder = (grant: string) => ({ principals: [{ grant }] }) as unknown as Session;

test('configurations of sets without requests are dropped', () => {
  const source = {
    current: ({ principals }: Session) => ({ version: 1, body: Buffer.from(principals[0]!.grant) }),
    onChange: () => () => {},
  };
  const announcements = createAnnouncements(source, keys);
  const first = announcements.of(holder('first'))!;
  const used = announcements.of(holder('used'))!;
  for (let n = 0; n < 4_095; n++) {
    announcements.of(holder(`grant-${n}`));
    expect(announcements.of(holder('used'))).toBe(used);
  }
  expect(announcements.content(first.set, first.digest)).toBeUndefined();
  expect(announcements.content(used.set, used.digest)).toEqual(Buffer.from('used'));
  expect(announcements.of(holder('first'))).toMatchObject({ set: first.set, version: 1, digest: first.digest });
});
