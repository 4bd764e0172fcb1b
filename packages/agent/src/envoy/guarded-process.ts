/**
 * A process that ends with this one, however this one ends. A shell stands between the two: it holds the other end of a pipe, and
 * when that closes, because the agent was killed, it kills what it started. This works wherever there is a POSIX shell.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface GuardedProcess {
  /** Of the process itself, not of its guard; undefined until it runs. */
  readonly pid: number | undefined;
  /** Resolves when it has ended, with how: `exit 1`, `SIGKILL`. */
  readonly ended: Promise<string>;
  /** Ends it at once. */
  kill(): void;
}

/**
 * Its standard input is the pipe; it prints the process id, waits, and exits as the process did. A crash leaves no core file: it would
 * hold the keys that are in memory.
 */
const GUARD = `ulimit -c 0
exec 3<&0
"$@" </dev/null 3<&- & child=$!
echo "$child"
exec 2>/dev/null
(read -r _ <&3; kill -9 "$child") & watch=$!
exec 3<&-
wait "$child"; code=$?
kill "$watch"
exit "$code"`;

/**
 * @param line gets each line of its standard error
 * @param env all of its environment
 */
export function startGuarded(
  argv: readonly string[],
  line: (text: string) => void,
  env: Readonly<Record<string, string | undefined>> = {},
): GuardedProcess {
  const guard: ChildProcess = spawn('/bin/sh', ['-c', GUARD, 'sh', ...argv], { stdio: ['pipe', 'pipe', 'pipe'], env });
  let pid: number | undefined;
  const ended = new Promise<string>((resolve) => {
    guard.on('error', (error) => resolve(`not started: ${(error as NodeJS.ErrnoException).code ?? error.message}`));
    guard.once('exit', (code, signal) => {
      guard.stdin?.destroy();
      // The guard alone may have been killed.
      if (signal !== null && pid !== undefined) killQuietly(pid);
      resolve(signal ?? (code! > 128 ? `signal ${code! - 128}` : `exit ${code}`));
    });
  });
  // Without a file descriptor for them (EMFILE) it has no pipes.
  const { stdin, stdout, stderr } = guard;
  if (stdout)
    createInterface({ input: stdout }).once('line', (text) => {
      pid = Number(text);
    });
  if (stderr) createInterface({ input: stderr }).on('line', line);
  stdin?.on('error', () => {}); // it has ended: `ended` tells
  return {
    get pid() {
      return pid;
    },
    ended,
    kill: () => void stdin?.destroy(),
  };
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended, too.
  }
}
