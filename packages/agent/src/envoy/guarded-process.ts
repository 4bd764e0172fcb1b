/**
 * Child process that ends with this process, however this process ends. A shell between the two reads one end of a
 * pipe. When the pipe closes because the agent was killed, the shell kills the child. Needs only a POSIX shell.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export type GuardedProcess = ReturnType<typeof startGuardedProcess>;

/**
 * Guard script. Its standard input is the pipe. It prints the process id, waits, and exits with the process's status.
 * Core dumps are disabled because they would contain the keys in memory.
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
 * Starts a process.
 * @param line called with each line of standard error
 * @param env complete environment of the process
 */
export function startGuardedProcess(
  argv: readonly string[],
  line: (text: string) => void,
  env: Readonly<Record<string, string | undefined>> = {},
) {
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
  // If file descriptors run out (EMFILE), the guard has no pipes.
  const { stdin, stdout, stderr } = guard;
  if (stdout)
    createInterface({ input: stdout }).once('line', (text) => {
      pid = Number(text);
    });
  if (stderr) createInterface({ input: stderr }).on('line', line);
  stdin?.on('error', () => {}); // it has ended, which `ended` reports
  return {
    /** Pid of the process itself, not of its guard. Undefined until the process runs. */
    get pid() {
      return pid;
    },
    /** Resolves with the cause when the process has ended: `exit 1`, `SIGKILL`. */
    ended,
    /** Kills the process. */
    kill: () => void stdin?.destroy(),
  };
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // The process has already ended.
  }
}
