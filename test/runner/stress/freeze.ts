/** Freezes the processes of a test run now and then, as a busy machine does. */
import { readdirSync, readFileSync } from 'node:fs';

/** Longest time between two pauses, milliseconds. */
const MAX_INTERVAL_MS = 2_000;

/**
 * Freezes a random worker of a Vitest process again and again (SIGSTOP), each time for a random while.
 * @param vitest process id
 * @param maxMs longest pause, milliseconds
 * @returns stops it, and continues what is frozen
 */
export function startFreezing(vitest: number, maxMs: number): () => void {
  let frozen: number | undefined;
  let timer: NodeJS.Timeout;
  const wait = () => {
    timer = setTimeout(freeze, Math.random() * MAX_INTERVAL_MS);
  };
  const freeze = () => {
    const workers = workersOf(vitest);
    const worker = workers[Math.floor(Math.random() * workers.length)];
    if (worker === undefined || !signal(worker, 'SIGSTOP')) return wait();
    frozen = worker;
    timer = setTimeout(resume, Math.random() * maxMs);
  };
  const resume = () => {
    if (frozen !== undefined) signal(frozen, 'SIGCONT');
    frozen = undefined;
    wait();
  };
  wait();
  return () => {
    clearTimeout(timer);
    if (frozen !== undefined) signal(frozen, 'SIGCONT');
  };
}

/** Returns the worker processes of a Vitest process; other children are parts of a lab. */
function workersOf(vitest: number): number[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => isWorker(pid, vitest));
}

/** Reads field 4 of /proc/PID/stat (proc(5)), and the command line. */
function isWorker(pid: number, parent: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (
      Number(fields[1]) === parent && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('/vitest/dist/workers/')
    );
  } catch {
    return false; // the process has ended
  }
}

function signal(pid: number, name: 'SIGSTOP' | 'SIGCONT'): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false; // the process has ended
  }
}
