/** Files that other users placed where the agent will write. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { createPrivateDirectory, openPrivateLog } from '../../src/control/own-files.ts';
import { launchAgent } from '../../src/process/launch.ts';
import { surroundingsOfAgent } from '../world.ts';

const SOMEBODY_ELSE = 65_534;
const modeOf = (path: string) => statSync(path).mode & 0o777;

function place(): string {
  const path = mkdtempSync(join(tmpdir(), 'own-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Starts an agent whose runtime directory another user has prepared, and expects a refusal without any effect. */
async function refusedWith(lay: (runtimeDirectory: string) => void): Promise<void> {
  const { config, broker } = await surroundingsOfAgent();
  lay(config.runtimeDirectory);
  const env = { ...process.env, CODESPACES: 'true', GITHUB_TOKEN: 'proof', CODESPACE_NAME: 'fluffy-8412' };
  await expect(launchAgent(config, { env })).rejects.toMatchObject({ code: 'config_invalid' });
  expect(broker.calls).toEqual([]);
}

test("does not change the mode of a link's target on up", async () => {
  const victim = place();
  chmodSync(victim, 0o755);
  await refusedWith((path) => symlinkSync(victim, path));
  expect(modeOf(victim)).toBe(0o755);
});

test('does not write through a link in the place of its log on up', async () => {
  const victim = join(place(), 'victim');
  writeFileSync(victim, 'theirs');
  await refusedWith((path) => {
    mkdirSync(path);
    symlinkSync(victim, join(path, 'agent.log'));
  });
  expect(readFileSync(victim, 'utf8')).toBe('theirs');
});

test('does not create the target of a dangling link on up', async () => {
  const victim = join(place(), 'victim');
  await refusedWith((path) => {
    mkdirSync(path);
    symlinkSync(victim, join(path, 'agent.log'));
  });
  expect(statSync(victim, { throwIfNoEntry: false })).toBeUndefined();
});

// Only root can transfer a directory to another user.
test.skipIf(process.getuid?.() !== 0)("refuses another user's directory on up, and keeps its mode", async () => {
  let theirs = '';
  await refusedWith((path) => {
    theirs = path;
    mkdirSync(path, { mode: 0o755 });
    chownSync(path, SOMEBODY_ELSE, SOMEBODY_ELSE);
  });
  expect(modeOf(theirs)).toBe(0o755);
});

test('does not write to a log that has a second name or is a pipe', () => {
  const directory = place();
  const victim = join(directory, 'victim');
  writeFileSync(victim, 'ours, too');
  linkSync(victim, join(directory, 'linked.log'));
  expect(() => openPrivateLog(join(directory, 'linked.log'), 1)).toThrow(/not a link/);
  expect(readFileSync(victim, 'utf8')).toBe('ours, too');
  execFileSync('mkfifo', [join(directory, 'pipe.log')]);
  expect(() => openPrivateLog(join(directory, 'pipe.log'), 1)).toThrow(/not a link/);
});

test("accepts the user's own directory and log, and closes them to other users", () => {
  const directory = join(place(), 'deep', 'run');
  createPrivateDirectory(directory);
  chmodSync(directory, 0o777);
  createPrivateDirectory(directory);
  expect(modeOf(directory)).toBe(0o700);
  const log = join(directory, 'agent.log');
  for (const line of ['one', 'two', 'three']) {
    const opened = openPrivateLog(log, 6);
    writeSync(opened, `${line}\n`);
    closeSync(opened);
    chmodSync(log, 0o666);
  }
  // "one" and "two" use eight bytes, so the third entry starts over.
  expect(readFileSync(log, 'utf8')).toBe('three\n');
  closeSync(openPrivateLog(log, 6));
  expect(modeOf(log)).toBe(0o600);
});
