/**
 * Programs that give up most of their requests, beside others that wait for their answers, as a process of its own for hosts of the
 * lab. Prints `GivenUp` as JSON.
 *
 *   node test/protocols/given-up/main.ts HOST PORT GIVEN_UP
 */
import { Agent, request } from 'node:http';

export interface GivenUp {
  readonly givenUp: number;
  /** Requests whose answer was waited for, and came. */
  readonly answered: number;
  /** Why the others got none. */
  readonly lost: readonly string[];
}

const WAITING = 8;
const EVERY_MS = 50;
/** In each round: far more than half of all requests are given up, and more than 33 a second. */
const GIVEN_UP_AT_ONCE = 10;
const GIVE_UP_AFTER_MS = 30;

const [host, port, wanted] = process.argv.slice(2);
const to = { host, port: Number(port), path: '/given-up' };
const agent = new Agent({ keepAlive: true, maxSockets: WAITING });
const lost: string[] = [];
let [answered, givenUp] = [0, 0];

function waitForAnswer(): Promise<void> {
  return new Promise((resolve) => {
    const lose = (why: string): void => {
      lost.push(why);
      resolve();
    };
    const call = request({ ...to, agent, headers: { 'x-delay-ms': '200' } }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (part) => {
        body += part;
      });
      response.on('error', ({ message }) => lose(message));
      response.on('end', () => {
        if (response.statusCode !== 200) return lose(`${response.statusCode} ${body.slice(0, 200)}`);
        answered++;
        resolve();
      });
    });
    call.on('error', ({ message }) => lose(message));
    call.end();
  });
}

function giveUp(): void {
  const call = request({ ...to, agent: false, headers: { 'x-delay-ms': '1000' } });
  call.on('error', () => {});
  call.end();
  setTimeout(() => {
    givenUp++;
    call.destroy();
  }, GIVE_UP_AFTER_MS);
}

const rounds = setInterval(() => Array.from({ length: GIVEN_UP_AT_ONCE }, giveUp), EVERY_MS);
const isOver = (): boolean => givenUp >= Number(wanted);
await Promise.all(
  Array.from({ length: WAITING }, async () => {
    while (!isOver()) await waitForAnswer();
  }),
);
clearInterval(rounds);
console.log(JSON.stringify({ givenUp, answered, lost: lost.slice(0, 20) } satisfies GivenUp));
process.exit(0);
