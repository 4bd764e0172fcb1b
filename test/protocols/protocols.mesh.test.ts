/** Every protocol that programs use, by the service's name and without a proxy. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Callers, openCallers } from '../callers/call-from.ts';
import { SIDES, type Side } from '../callers/calls.ts';
import { SQL } from '../traffic/traffic-in-the-mesh.ts';
import { EXCHANGES } from './exchanges/exchanges.ts';

let callers: Callers;

beforeAll(async () => {
  callers = await openCallers(SIDES);
});
afterAll(() => callers?.close());

describe.each(SIDES)('by name from a %s', (side) => {
  it.each(namesFor(side))('%s', async (name) => {
    expect(await callers.callFrom(side, { do: 'exchange', name })).toBe(EXCHANGES[name]!.expected);
  });

  it('PostgreSQL', async () => {
    const { code, stdout } = await callers.lab.exec(callers.host(side), [...SQL, 'ledger-db.shop']);
    expect({ code, stdout }).toEqual({ code: 0, stdout: '505000\n' });
  });

  it('a protocol in which the server speaks first', async () => {
    const call = { do: 'tcp', host: 'echo.shop', port: 2525, serverFirst: true, send: ['HELO me', 'QUIT'] } as const;
    const { lines, over } = await callers.callFrom(side, call);
    expect(lines[0]).toMatch(/^220 echo\.shop v[12]$/);
    expect({ rest: lines.slice(1), over }).toEqual({ rest: ['250 me', '221 bye'], over: 'end' });
  });
});

function namesFor(side: Side): string[] {
  return Object.entries(EXCHANGES).flatMap(([name, { onlyFrom = side }]) => (onlyFrom === side ? [name] : []));
}
