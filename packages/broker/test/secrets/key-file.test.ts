import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { readPrivateFile } from '../../src/base/secrets/key-file.ts';
import { keyFileStorage } from '../../src/core/token/key-storage.ts';
import { openSigner } from '../../src/core/token/signer.ts';
import { readKeyPair } from '../../src/http/key-pair.ts';

const dir = mkdtempSync(join(tmpdir(), 'meshpass-key-file-'));
chmodSync(dir, 0o755);
const file = join(dir, 'secret');
beforeEach(() => {
  rmSync(file, { force: true });
  writeFileSync(file, 'secret\n', { mode: 0o600 });
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const outcome = (mode: number, read: () => unknown = () => readPrivateFile(file)) => {
  chmodSync(file, mode);
  try {
    read();
    return 'read';
  } catch (thrown) {
    return (thrown as { code?: string }).code;
  }
};

describe('a file with a key or a token', () => {
  it.each([0o600, 0o400, 0o700])("is read if it is the broker's own: %o", (mode) => expect(outcome(mode)).toBe('read'));

  it.each([0o640, 0o660, 0o610, 0o604, 0o602, 0o601, 0o644, 0o666, 0o777])(
    'is refused where others have access: %o',
    (mode) => expect(outcome(mode)).toBe('config_invalid'),
  );

  it('is checked at the target of a link, as in a mounted Secret', () => {
    const link = join(dir, 'link');
    symlinkSync('secret', link);
    expect(outcome(0o600, () => readPrivateFile(link))).toBe('read');
    expect(outcome(0o644, () => readPrivateFile(link))).toBe('config_invalid');
  });

  it('is refused as the TLS key and as the signing key, with a message that contains its name and not its content', async () => {
    chmodSync(file, 0o640);
    const pair = { certFile: file, keyFile: file };
    expect(outcome(0o640, () => readKeyPair(pair))).toBe('config_invalid');
    await expect(openSigner(keyFileStorage(file))).rejects.toThrow(
      /secret contains a secret but is accessible to other users\. Set its mode to 0600/,
    );
  });
});

/** The file of a Secret: root's, and of the group that the pod has as `fsGroup`. */
describe.runIf(process.getuid?.() === 0)('a mounted Secret, for a broker that is not root', () => {
  const GROUP = 65_532;
  const asBroker = (mode: number, owner = 0) => {
    chownSync(file, owner, GROUP);
    chmodSync(file, mode);
    const module = new URL('../../src/base/secrets/key-file.ts', import.meta.url).href;
    const script = `import(${JSON.stringify(module)}).then(({ readPrivateFile }) => {
      process.setgroups([${GROUP}]); process.setgid(${GROUP}); process.setuid(${GROUP});
      try { readPrivateFile(${JSON.stringify(file)}); console.log('read'); } catch (e) { console.log(e.code); }
    })`;
    return spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' }).stdout.trim();
  };

  it.each([
    ['with defaultMode 0440', 0o440, 0, 'read'],
    ['with mode 0640', 0o640, 0, 'read'],
    ['that all users may read, as by default', 0o644, 0, 'config_invalid'],
    ['that its group may write', 0o660, 0, 'config_invalid'],
    ["that is somebody else's", 0o440, 65_533, 'config_invalid'],
    ['of its own user, and open to the group', 0o640, GROUP, 'config_invalid'],
  ])('%s', (_, mode, owner, expected) => expect(asBroker(mode, owner)).toBe(expected));
});
