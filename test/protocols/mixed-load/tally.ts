/** Counts the outcomes of the requests of a mixed load. */
import { createHash } from 'node:crypto';
import type { Echoed } from '@meshpass/lab/apps/echo/http';

/** A request as it was sent, with an id of its own. */
export interface Sent {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

export interface Received {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: string;
}

export interface Report {
  /** All sent requests, by their treatment. */
  readonly sent: Readonly<Record<string, number>>;
  readonly answered: number;
  /** Answers of a proxy instead of the service's, by status, to requests that made the service reset. */
  readonly refused: Readonly<Record<string, number>>;
  /** Given up by the caller: no answer is due. */
  readonly abandoned: number;
  /** Later requests of a pipeline whose connection was closed in order after earlier answers, as HTTP allows. */
  readonly unanswered: number;
  /** Failures: answers of another request, no answer, no end within the time limit. The first few, as text. */
  readonly wrong: readonly string[];
  readonly lost: readonly string[];
  readonly hung: readonly string[];
  /** Requests that took longer than the limit, but ended. */
  readonly late: readonly string[];
}

export interface Tally {
  send(kind: string, request: Sent): void;
  /** Holds an answer against the request that it is for. */
  receive(request: Sent, answer: Received): void;
  abandon(request: Sent): void;
  leave(request: Sent): void;
  lose(request: Sent, why: string): void;
  hang(what: string): void;
  delay(what: string): void;
  total(): number;
  report(): Report;
}

const KEPT = 20;

export function openTally(): Tally {
  const sent: Record<string, number> = {};
  const refused: Record<string, number> = {};
  const [wrong, lost, hung, late]: string[][] = [[], [], [], []];
  let [answered, abandoned, unanswered, total] = [0, 0, 0, 0];
  const keep = (list: string[], text: string): void => void (list.length < KEPT && list.push(text));
  return {
    send: (kind) => {
      sent[kind] = (sent[kind] ?? 0) + 1;
      total++;
    },
    receive: (request, answer) => {
      if (answer.headers['x-version'] === undefined) {
        refused[answer.status] = (refused[answer.status] ?? 0) + 1;
        if (request.headers['x-reset'] === undefined)
          keep(lost!, `${request.id}: a proxy answered ${answer.status} ${answer.body.slice(0, 100)}`);
        return;
      }
      answered++;
      const problem = problemOf(request, answer);
      if (problem !== undefined) keep(wrong!, `${request.id} (${request.method} ${request.path}): ${problem}`);
    },
    abandon: () => {
      abandoned++;
    },
    leave: () => {
      unanswered++;
    },
    lose: (request, why) => keep(lost!, `${request.id} (${request.method} ${request.path}): ${why}`),
    hang: (what) => keep(hung!, what),
    delay: (what) => keep(late!, what),
    total: () => total,
    report: () => ({
      sent,
      answered,
      refused,
      abandoned,
      unanswered,
      wrong: wrong!,
      lost: lost!,
      hung: hung!,
      late: late!,
    }),
  };
}

/** @returns how the answer is not that of the request */
function problemOf(request: Sent, { status, headers, body }: Received): string | undefined {
  if (headers['x-call-id'] !== request.id) return `the answer is for ${headers['x-call-id']}`;
  if (String(status) !== (request.headers['x-status'] ?? '200')) return `status ${status}`;
  // In the padding that a request may ask for there is no brace.
  if (!body.endsWith('}\n')) return `the answer is cut off after ${body.length} bytes`;
  const echoed = JSON.parse(body) as Echoed;
  if (echoed.headers['x-call-id'] !== request.id) return `the service saw ${echoed.headers['x-call-id']}`;
  if (echoed.method !== request.method || echoed.path !== request.path)
    return `the service saw ${echoed.method} ${echoed.path}`;
  const digest = createHash('sha256').update(request.body).digest('hex');
  if (echoed.body.sha256 !== digest) return `the service saw another body of ${echoed.body.bytes} bytes`;
  return undefined;
}
