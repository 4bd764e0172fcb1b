/**
 * Entry point of the single executable, which contains three programs: the `meshpass` command, the agent for
 * workspaces, and the process that proves access files for the broker. Only the requested program is loaded, so that
 * the agent does not keep the whole command in memory.
 */
import { createRequire } from 'node:module';
import { getRawAsset } from 'node:sea';
import { Script } from 'node:vm';
import { DAEMON_COMMAND } from '@meshpass/agent/process/daemon-verb';
import { PROVE_COMMAND } from '@meshpass/broker/admin/policy/proof';

/**
 * The programs that deploy/executable/build.ts embeds. Each of them is stored as `NAME.cjs`, and its V8 code cache as
 * `NAME.cache`.
 */
type Embedded = 'agent' | 'command' | 'prove';

type Wrapper = (require: NodeJS.Require, filename: string) => void;

if (process.argv[2] === DAEMON_COMMAND) {
  // Make the configuration the first argument, as it is when the agent runs under Node.js.
  process.argv.splice(2, 1);
  run('agent');
} else if (process.argv[2] === PROVE_COMMAND) {
  run('prove');
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

/** Returns a read-only view of an asset in the executable, without copying it. */
function embedded(name: string): Buffer | undefined {
  try {
    return Buffer.from(getRawAsset(name));
  } catch {
    return undefined;
  }
}
