import { type Cell, combineVerdicts, matrixOf } from '@meshpass/analysis/evaluate';
import { defineCommand } from '../../command/define.ts';
import { EXIT, type ExitCode } from '../../command/failure.ts';
import { argumentsOf, type OptionsOf } from '../../command/flag.ts';
import { output } from '../../command/shared-flags.ts';
import { meshInputFlags, readMesh } from '../../input/mesh-input.ts';
import { assumptionJson, assumptionLines } from '../../output/decision-text.ts';
import { printJson, printLines } from '../../output/print.ts';

const args = {
  paths: argumentsOf('manifest files and directories with Services, workloads and policies; - for standard input'),
};
const flags = { ...meshInputFlags, output };

export const command = defineCommand({
  about: 'Rows are ServiceAccounts, columns are ports of workloads: + every call, ~ some calls, . none, ? unknown.',
  args,
  flags,
  exitCodes: { 0: 'no cell is unknown', 4: 'a cell is unknown: a deciding policy cannot be evaluated' },
  examples: ['meshpass policy matrix mesh/', 'meshpass policy matrix mesh/ --output json'],
  page: 'docs/evaluator.md',
  run: showMatrix,
});

/**
 * Prints the matrix.
 * @throws MeshpassError `usage`, `manifest_*`, `kubernetes_unavailable`
 */
async function showMatrix({ paths, output, ...options }: OptionsOf<typeof args & typeof flags>): Promise<ExitCode> {
  const view = await readMesh(paths, options);
  const { identities, endpoints, cells, assumed } = matrixOf(view);
  const isUnknown = view.unread !== undefined || cells.some(({ allowed }) => allowed === 'unknown');
  const code = isUnknown ? EXIT.unknown : EXIT.ok;
  const at = Map.groupBy(cells, ({ who, endpoint }) => `${who}\n${endpoint.name}`);
  if (output === 'json') {
    const listed = [...at.values()].map((some) => {
      const [{ who, endpoint, example }] = some as [Cell, ...Cell[]];
      const unknown = some.find((one) => one.unknown !== undefined)?.unknown;
      return {
        who,
        endpoint: endpoint.name,
        allowed: together(some),
        ...(example !== undefined && { example }),
        ...(unknown !== undefined && { unknown }),
      };
    });
    printJson({ identities, endpoints, cells: listed, ...assumptionJson(assumed, view.unplaced) });
    return code;
  }
  const width = Math.max(...identities.map((one) => one.length), 1);
  for (const [index, endpoint] of endpoints.entries())
    printLines(`${' '.repeat(width + 2)}${'|  '.repeat(index)}${endpoint}`);
  for (const who of identities) {
    const row = endpoints.map((endpoint) => MARKS[together(at.get(`${who}\n${endpoint}`) ?? [])]);
    printLines(`${who.padEnd(width)}  ${row.join('  ')}`);
  }
  printLines('', '+ every call, ~ some calls, . none, ? unknown');
  const whys = new Set(cells.flatMap(({ endpoint, unknown }) => (unknown ? [`? ${endpoint.name}: ${unknown}`] : [])));
  printLines(...whys);
  printLines(...assumptionLines(assumed, view.unplaced));
  return code;
}

const MARKS = { yes: '+', some: '~', no: '.', unknown: '?' } as const;

/** Combines the cells of several workloads behind one name. */
function together(cells: readonly Cell[]): Cell['allowed'] {
  const all = cells.map(({ allowed }) => allowed);
  if (all.includes('unknown')) return 'unknown';
  return all.includes('some') ? 'some' : combineVerdicts(all.filter((one) => one !== 'some'));
}
