/** The Codespace of a trial: starts the agent, makes the first call and one that is refused, prints both, and stays. */
import { execFile } from 'node:child_process';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { call } from './call.ts';

/** Port of the readiness probe, on the Pod's address: Envoy listens on loopback at the ports of granted services. */
const READY_PORT = 8080;
const RETRY_MS = 2_000;
/** Differs in each refusal of the same kind. */
const DECISION = / \(decision [\w-]+\)/;

interface Status {
  readonly session: { readonly id: string; readonly login: string; readonly workspace: string };
  readonly credentials: { readonly svids: readonly { readonly spiffeId: string; readonly expiresAt: number }[] };
}

/**
 * Runs until SIGTERM, at which the session ends.
 * @param granted URL that the access file grants
 * @param refused URL of the same service that it does not grant
 */
export async function runCodespace(granted: string, refused: string): Promise<void> {
  let ready = false;
  createServer((_, response) => response.writeHead(ready ? 200 : 503).end()).listen(READY_PORT, process.env.POD_IP);
  process.once('SIGTERM', () => void meshpass('down').finally(() => process.exit(0)));
  await until('meshpass up', () => meshpass('up'));
  const { session, credentials } = JSON.parse(await meshpass('status', '--output', 'json')) as Status;
  console.log(`Enrolled: ${session.login} in Codespace ${session.workspace}, session ${session.id}`);
  for (const { spiffeId, expiresAt } of credentials.svids)
    console.log(`Certificate: ${spiffeId}, until ${new Date(expiresAt).toISOString()}`);
  await first(granted, (answer) => !/^(403|5\d\d) /.test(answer));
  await first(refused, (answer) => answer.startsWith('403 '));
  ready = true;
}

/** Repeats a call until its answer is the expected one: policies and tunnels of a new session take a moment. */
async function first(url: string, isExpected: (answer: string) => boolean): Promise<void> {
  await until(`GET ${url}`, async () => {
    const answer = await call(url);
    if (!isExpected(answer)) throw new Error(answer);
    console.log(`GET ${url}: ${answer}`);
  });
}

async function until(what: string, act: () => Promise<unknown>): Promise<void> {
  for (let last = ''; ; await sleep(RETRY_MS)) {
    try {
      await act();
      return;
    } catch (error) {
      const message = (error as Error).message.replace(DECISION, '');
      if (message !== last) console.log(`${what}, tried again: ${message}`);
      last = message;
    }
  }
}

/** @returns its output. @throws Error with it if the command fails */
async function meshpass(...args: string[]): Promise<string> {
  try {
    return (await promisify(execFile)('meshpass', args)).stdout;
  } catch (error) {
    const { stderr, stdout } = error as { readonly stderr: string; readonly stdout: string };
    throw new Error((stderr || stdout).trim());
  }
}
