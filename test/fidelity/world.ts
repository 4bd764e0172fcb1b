/** The mesh as one side sees it, for the cases. */
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { logFile } from '@meshpass/lab/unit';
import type { Callers } from '../callers/call-from.ts';
import type { Side } from '../callers/calls.ts';
import type { World } from './case.ts';

const PRINCIPALS: Readonly<Record<Side, RegExp>> = {
  pod: /spiffe:\/\/cluster\.local\/ns\/shop\/sa\/client$/,
  codespace: /spiffe:\/\/cluster\.local\/ns\/meshpass-payments-dev\/sa\/alice-\w+$/,
};

export function worldOf({ lab, callFrom }: Callers, side: Side): World {
  const logs = ['sidecar-echo-v1', 'sidecar-echo-v2'].map((unit) => logFile(lab.dir, unit));
  const began = logs.map((file) => statSync(file).size);
  /** Past the service's sidecar. */
  const ask = async (version: string, argv: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await lab.exec(`echo-${version}`, ['curl', '-sS', '-m', '5', ...argv]);
    if (code !== 0) throw new Error(stderr);
    return stdout;
  };
  return {
    call: (call) => callFrom(side, call),
    seenBy: async (version, callId) => {
      const seen = JSON.parse(await ask(version, [`http://127.0.0.1:8080/seen/${callId}`]));
      return (seen as { authorities: string[] }).authorities;
    },
    setMode: async (version, status) => {
      await ask(version, ['-X', 'PUT', `http://127.0.0.1:8080/mode/${status}`]);
    },
    loggedByService: (text) =>
      logs.flatMap((file, at) => readFrom(file, began[at]!).split('\n')).find((line) => line.includes(text)),
    principal: PRINCIPALS[side],
  };
}

function readFrom(file: string, start: number): string {
  const bytes = Buffer.alloc(statSync(file).size - start);
  const descriptor = openSync(file, 'r');
  readSync(descriptor, bytes, 0, bytes.length, start);
  closeSync(descriptor);
  return bytes.toString();
}
