/** Findings of `meshpass check` about the operator listener. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { terminalText } from '@meshpass/identity';
import { afterEach, expect, it } from 'vitest';
import { checkBroker } from '../../src/check/broker.ts';
import { findingsOutput } from '../../src/diagnosis/print.ts';
import { diagnose } from '../../src/diagnosis/run.ts';

let end = () => {};
afterEach(() => end());

async function look(answer: unknown) {
  const server = createServer((_request, response) => response.end(JSON.stringify(answer)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  end = () => void server.close();
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return await diagnose([{ names: ['broker'], run: () => checkBroker(origin, 'mine') }]);
}

it('names each reason why the broker is not ready', async () => {
  expect(await look({ status: 'unready', reasons: ['the store is not responding', 'no roots'] })).toMatchObject([
    { check: 'database', state: 'failed', says: 'The broker is not ready: the store is not responding.' },
    { check: 'broker', state: 'failed', says: 'The broker is not ready: no roots.' },
  ]);
});

it('reports the warnings of a broker that serves', async () => {
  const warnings = ['GitHub rejected the ID or private key of GitHub App 4242'];
  expect(await look({ status: 'ready', reasons: [], warnings })).toMatchObject([
    { check: 'broker', state: 'warning', says: `The broker is active, but: ${warnings[0]}.` },
  ]);
  expect(await look({ status: 'ready', reasons: [] })).toMatchObject([{ state: 'ok' }]);
});

it('reports whether break-glass is off, or on, which is a warning', async () => {
  const ready = { status: 'ready', reasons: [], warnings: [] };
  expect(await look({ ...ready, break_glass: false })).toMatchObject([
    { check: 'broker', state: 'ok' },
    { check: 'operators', state: 'ok', says: 'Break-glass is off: operators sign in by name.' },
  ]);
  expect(await look({ ...ready, break_glass: true })).toMatchObject([
    { check: 'broker', state: 'ok' },
    { check: 'operators', state: 'warning', next: expect.stringContaining('turn it off') },
  ]);
});

it.each([[null], ['ready'], [{ reasons: 'abc' }], [{ status: 'standby', reasons: 5 }], [{ reasons: [{}] }], [[]]])(
  'reports that %j is not the answer of a broker',
  async (answer) => {
    expect(await look(answer)).toMatchObject([{ state: 'failed', says: expect.stringContaining('is not a broker') }]);
  },
);

it('prints nothing of the answer that moves a cursor or turns the direction of text', async () => {
  const findings = await look({ reasons: ['\u001b[2Jgone\u009b31m \u202ekcab'] });
  expect(terminalText(findingsOutput(findings).text() as string[])).toMatch(
    /The broker is not ready: \ufffd\[2Jgone\ufffd31m \ufffdkcab\./,
  );
});
