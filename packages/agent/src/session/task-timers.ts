/** Tasks that run when they are due, and again after a failure: later each time, with jitter, until they succeed. */
import { type MeshpassError, toMeshpassError } from '@meshpass/identity/error';

export interface TaskTimersOptions<Task extends string> {
  readonly run: (task: Task) => Promise<void>;
  /** Longest pause after a failure, ms. */
  readonly longestPause: (task: Task) => number;
  /** Told of each failure. @returns whether the task is to be tried again */
  readonly failed: (task: Task, error: MeshpassError) => boolean;
  /** Whether a task that failed so waits until another one has succeeded, which is tried meanwhile; at most for its longest pause. */
  readonly waitsForOthers: (task: Task, error: MeshpassError) => boolean;
  readonly succeeded: () => void;
  /** In [0, 1). */
  readonly random: () => number;
}

const FIRST_RETRY = 1_000;
/** Longest from the success of one task to those that waited for it, ms. */
const AFTER_ANOTHER = 1_000;
/** Longest that a task comes later than the broker asked, ms. */
const LONGEST_SPREAD = 5_000;
/** Longest that a timer of Node waits, ms; one of more fires at once. */
const LONGEST_TIMER = 2_147_483_647;

export class TaskTimers<Task extends string> {
  readonly #options: TaskTimersOptions<Task>;
  readonly #timers = new Map<Task, NodeJS.Timeout>();
  readonly #attempts = new Map<Task, number>();
  readonly #failures = new Map<Task, string>();
  readonly #running = new Set<Task>();
  /** Was due again while it ran. */
  readonly #again = new Set<Task>();
  /** Come when another has succeeded. */
  readonly #waiting = new Set<Task>();
  #closed = false;

  constructor(options: TaskTimersOptions<Task>) {
    this.#options = options;
  }

  /** The last failure of each task that has not succeeded since. */
  get failures(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.#failures);
  }

  /** The task is due in so many milliseconds, and not at the time that was set before. While it runs it waits for its own end. */
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

  /** Whether a time is set for it. */
  isDue(task: Task): boolean {
    return this.#timers.has(task) || this.#again.has(task);
  }

  /** The task is done by others: it is not due, and not failing. */
  settle(task: Task): void {
    clearTimeout(this.#timers.get(task));
    this.#timers.delete(task);
    this.#again.delete(task);
    this.#waiting.delete(task);
    this.forgive(task);
  }

  /** Forgets that tasks have failed. */
  forgive(...tasks: readonly Task[]): void {
    for (const task of tasks.length > 0 ? tasks : [...this.#attempts.keys(), ...this.#failures.keys()]) {
      this.#attempts.delete(task);
      this.#failures.delete(task);
    }
  }

  /** No task is due any more. */
  stop(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#again.clear();
    this.#waiting.clear();
  }

  /** Stops for good; what is under way is not heard any more. */
  close(): void {
    this.#closed = true;
    this.stop();
  }

  /** What a person reads of a task until it has succeeded. */
  note(task: Task, failure: string): void {
    this.#failures.set(task, failure);
  }

  async #run(task: Task): Promise<void> {
    this.#timers.delete(task);
    // Its own success must not bring it once more.
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
    // What a broker asks for, it asks of all that come at once: the same pause would bring them all back at once.
    const asked = (error.retryAfter ?? 0) * 1000;
    return Math.max(growing * (0.5 + 0.5 * random()), asked + Math.min(asked / 2, LONGEST_SPREAD) * random());
  }
}
