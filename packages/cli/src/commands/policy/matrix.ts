/** `meshpass policy matrix`: identities by endpoints. */

import { type Cell, combineVerdicts, matrixOf } from '@meshpass/analysis/evaluate';
import { EXIT, type Output } from '../../command/failure.ts';
import { type MeshInput, readMesh } from '../../input/mesh-input.ts';
import { assumptionJson, assumptionLines } from '../../output/decision-text.ts';

export interface MatrixFlags extends MeshInput {
  readonly output: Output;
}

/** Exits with 4 where a cell is unknown. @throws MeshpassError `usage`, `manifest_*`, `kubernetes_unavailable` */
export async function matrixCommand(paths: readonly string[], flags: MatrixFlags): Promise<void> {
  const view = await readMesh(paths, flags);
  const { identities, endpoints, cells, assumed } = matrixOf(view);
  if (view.unread !== undefined || cells.some(({ allowed }) => allowed === 'unknown')) process.exitCode = EXIT.unknown;
  const at = Map.groupBy(cells, ({ who, endpoint }) => `${who}\n${endpoint.name}`);
  if (flags.output === 'json') {
    const listed = [...at.values()].map((some) => {
      const [{ who, endpoint, example }] = some as [Cell, ...Cell[]];
      const unknown = some.find((one) => one.unknown !== undefined)?.unknown;
      return {
        ...{ who, endpoint: endpoint.name, allowed: together(some), ...(example !== undefined && { example }) },
        ...(unknown !== undefined && { unknown }),
      };
    });
    console.log(
      JSON.stringify({ identities, endpoints, cells: listed, ...assumptionJson(assumed, view.unplaced) }, null, 2),
    );
    return;
  }
  const width = Math.max(...identities.map((one) => one.length), 1);
  for (const [index, endpoint] of endpoints.entries())
    console.log(`${' '.repeat(width + 2)}${'|  '.repeat(index)}${endpoint}`);
  for (const who of identities) {
    const row = endpoints.map((endpoint) => MARKS[together(at.get(`${who}\n${endpoint}`) ?? [])]);
    console.log(`${who.padEnd(width)}  ${row.join('  ')}`);
  }
  console.log('\n+ every call, ~ some calls, . none, ? unknown');
  const whys = new Set(cells.flatMap(({ endpoint, unknown }) => (unknown ? [`? ${endpoint.name}: ${unknown}`] : [])));
  for (const why of whys) console.log(why);
  for (const line of assumptionLines(assumed, view.unplaced)) console.log(line);
}

const MARKS = { yes: '+', some: '~', no: '.', unknown: '?' } as const;

/** Several workloads may answer to one name. */
function together(cells: readonly Cell[]): Cell['allowed'] {
  const all = cells.map(({ allowed }) => allowed);
  if (all.includes('unknown')) return 'unknown';
  return all.includes('some') ? 'some' : combineVerdicts(all.filter((one) => one !== 'some'));
}
