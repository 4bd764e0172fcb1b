/** A program on a host of the lab that makes the calls a test asks for, as any program there would: by name, without a proxy. */
import { createInterface } from 'node:readline';
import { EXCHANGES } from '../protocols/exchanges/exchanges.ts';
import type { Call } from './calls.ts';
import { callHttp } from './http-call.ts';
import { callTcp } from './tcp-call.ts';

createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, order } = JSON.parse(line) as { id: number; order: Call };
  const write = (answer: object): unknown => process.stdout.write(`${JSON.stringify({ id, ...answer })}\n`);
  make(order).then(
    (result) => write({ result }),
    (error: Error) => write({ error: error.stack ?? error.message }),
  );
});

async function make(call: Call): Promise<unknown> {
  if (call.do === 'http') return callHttp(call);
  if (call.do === 'tcp') return callTcp(call);
  const { exchange, authority } = EXCHANGES[call.name]!;
  return await exchange(authority);
}
