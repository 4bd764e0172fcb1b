/** Runs tasks when they are due. If a task fails, it is retried with backoff and jitter until it succeeds. */
import { type MeshpassError, toMeshpassError } from '@meshpass/identity';

export interface TaskTimersOptions<Task extends string> {
  readonly run: (task: Task) => Promise<void>;
  /** Returns the maximum pause after a failure, in milliseconds. */
  readonly longestPause: (task: Task) => number;
  /**
   * Handles the failure of a task.
   * @returns whether the task should be retried
   */
  readonly failed: (task: Task, error: MeshpassError) => boolean;
  /**
   * Returns whether a failed task should wait for another task that is still being retried. It never waits longer than
   * its own maximum pause.
   */
  readonly waitsForOthers: (task: Task, error: MeshpassError) => boolean;
  readonly succeeded: () => void;
  /** Returns a random number in [0, 1). */
  readonly random: () => number;
}

const FIRST_RETRY = 1_000;
/**
 * The maximum delay between the success of a task and the start of the tasks that have waited for it, in milliseconds.
 */
const AFTER_ANOTHER = 1_000;
/** The maximum delay that is added to the pause requested by the broker, in milliseconds. */
const LONGEST_SPREAD = 5_000;
/** The maximum delay of a Node.js timer, in milliseconds. A timer with a larger delay fires immediately. */
const LONGEST_TIMER = 2_147_483_647;

export class TaskTimers<Task extends string> {
  readonly #options: TaskTimersOptions<Task>;
  readonly #timers = new Map<Task, NodeJS.Timeout>();
  readonly #attempts = new Map<Task, number>();
  readonly #failures = new Map<Task, string>();
  readonly #running = new Set<Task>();
  /** The tasks that became due again while they were running. */
  readonly #again = new Set<Task>();
  /** The tasks that are waiting for another task to succeed. */
  readonly #waiting = new Set<Task>();
  #closed = false;

  constructor(options: TaskTimersOptions<Task>) {
    this.#options = options;
  }

  /** The latest failure of each task that has not succeeded since then. */
  get failures(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.#failures);
  }

  /**
   * Schedules a task, replacing any previously scheduled time. If the task is still running at that time, it runs again
   * afterwards.
   */
  later(task: Task, milliseconds: number): void {
    clearTimeout(this.#timers.get(task));
    this.#again.delete(task);
    this.#waiting.delete(task);
    if (this.#closed) return;
    this.#timers.set(
      task,
      setTimeout(() => void this.#run(task), Math.min(milliseconds, LONGEST_TIMER)),
    );
  }

  /** Returns whether a task is scheduled. */
  isDue(task: Task): boolean {
    return this.#timers.has(task) || this.#again.has(task);
  }

  /** Records that a task was completed by other means. It is then no longer scheduled or failing. */
  settle(task: Task): void {
    clearTimeout(this.#timers.get(task));
    this.#timers.delete(task);
    this.#again.delete(task);
    this.#waiting.delete(task);
    this.forgive(task);
  }

  /** Clears the failures of the given tasks, or all failures if no tasks are given. */
  forgive(...tasks: readonly Task[]): void {
    for (const task of tasks.length > 0 ? tasks : [...this.#attempts.keys(), ...this.#failures.keys()]) {
      this.#attempts.delete(task);
      this.#failures.delete(task);
    }
  }

  /** Cancels all scheduled tasks. */
  stop(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#again.clear();
    this.#waiting.clear();
  }

  /** Stops permanently. The results of tasks that are still running are ignored. */
  close(): void {
    this.#closed = true;
    this.stop();
  }

  /** Sets the failure that users see until the task succeeds. */
  note(task: Task, failure: string): void {
    this.#failures.set(task, failure);
  }

  async #run(task: Task): Promise<void> {
    this.#timers.delete(task);
    // The success of this task must not schedule the task itself again.
    this.#waiting.delete(task);
    if (this.#running.has(task)) return void this.#again.add(task);
    this.#running.add(task);
    try {
      await this.#options.run(task);
      this.#options.succeeded();
      this.forgive(task);
      for (const other of this.#waiting) this.later(other, AFTER_ANOTHER * this.#options.random());
    } catch (thrown) {
      if (this.#closed) return;
      const error = toMeshpassError(thrown);
      this.note(task, error.message);
      if (!this.#options.failed(task, error)) return;
      const waits = this.#options.waitsForOthers(task, error);
      this.later(task, waits ? this.#options.longestPause(task) : this.#pause(task, error));
      if (waits) this.#waiting.add(task);
    } finally {
      this.#running.delete(task);
      if (this.#again.has(task)) this.later(task, 0);
    }
  }

  #pause(task: Task, error: MeshpassError): number {
    const { longestPause, random } = this.#options;
    const attempt = this.#attempts.get(task) ?? 0;
    this.#attempts.set(task, attempt + 1);
    const growing = Math.min(FIRST_RETRY * 2 ** attempt, Math.max(FIRST_RETRY, longestPause(task)));
    // The broker sends the same Retry-After to all agents that connect at the same time. With identical pauses, they
    // would all return at once.
    const asked = (error.retryAfter ?? 0) * 1000;
    return Math.max(growing * (0.5 + 0.5 * random()), asked + Math.min(asked / 2, LONGEST_SPREAD) * random());
  }
}
