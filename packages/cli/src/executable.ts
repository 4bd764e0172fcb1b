/**
 * Entry of the single executable. It holds two programs, the `meshpass` command and the agent's process that `meshpass up` starts, and
 * loads one of them: the agent must not hold the command in memory.
 */
import { createRequire } from 'node:module';
import { getRawAsset } from 'node:sea';
import { Script } from 'node:vm';
import { DAEMON_VERB } from '@meshpass/agent/process/daemon-verb';

/** By what deploy/executable/build.ts embeds of each: `NAME.cjs`, and the compiled code that V8 made of it, `NAME.cache`. */
type Embedded = 'agent' | 'command';

type Wrapper = (require: NodeJS.Require, filename: string) => void;

if (process.argv[2] === DAEMON_VERB) {
  // As where Node.js runs files: the process gets its configuration as first argument.
  process.argv.splice(2, 1);
  run('agent');
} else {
  run('command');
}

function run(name: Embedded): void {
  const source = embedded(`${name}.cjs`)!;
  const script = new Script(source.toString('latin1'), {
    filename: `${name}.cjs`,
    cachedData: embedded(`${name}.cache`),
  });
  (script.runInThisContext() as Wrapper)(createRequire(process.execPath), process.execPath);
}

/** A view of the executable itself: nothing is copied, and nothing may be written to it. */
function embedded(name: string): Buffer | undefined {
  try {
    return Buffer.from(getRawAsset(name));
  } catch {
    return undefined;
  }
}
