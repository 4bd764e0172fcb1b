/** `meshpass policy matrix`: identities by endpoints. */

import { summary } from '@meshpass/policy/evaluate/can-i';
import { type Cell, matrixOf } from '@meshpass/policy/evaluate/matrix';
import type { Output } from '../../failure.ts';
import { type MeshInput, readMesh } from '../../mesh-input.ts';

export interface MatrixFlags extends MeshInput {
  readonly output: Output;
}

/** @throws MeshpassError `usage`, `manifest_*`, `kubernetes_unavailable` */
export async function matrixCommand(paths: readonly string[], flags: MatrixFlags): Promise<void> {
  const { identities, endpoints, cells } = matrixOf(await readMesh(paths, flags));
  const at = Map.groupBy(cells, ({ who, endpoint }) => `${who}\n${endpoint.name}`);
  if (flags.output === 'json') {
    const listed = [...at.values()].map((some) => {
      const [{ who, endpoint, example }] = some as [Cell, ...Cell[]];
      return { who, endpoint: endpoint.name, allowed: together(some), ...(example !== undefined && { example }) };
    });
    console.log(JSON.stringify({ identities, endpoints, cells: listed }, null, 2));
    return;
  }
  const width = Math.max(...identities.map((one) => one.length), 1);
  for (const [index, endpoint] of endpoints.entries())
    console.log(`${' '.repeat(width + 2)}${'|  '.repeat(index)}${endpoint}`);
  for (const who of identities) {
    const row = endpoints.map((endpoint) => MARKS[together(at.get(`${who}\n${endpoint}`) ?? [])]);
    console.log(`${who.padEnd(width)}  ${row.join('  ')}`);
  }
  console.log('\n+ every call, ~ some calls, . none');
}

const MARKS = { yes: '+', some: '~', no: '.' } as const;

/** Several workloads may answer to one name. */
function together(cells: readonly Cell[]): Cell['allowed'] {
  if (cells.some(({ allowed }) => allowed === 'some')) return 'some';
  return summary(cells.map(({ allowed }) => allowed === 'yes'));
}
