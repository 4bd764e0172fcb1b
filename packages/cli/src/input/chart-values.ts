/**
 * Reads the values file of the Helm chart. Only the values that affect the requirements of an installation are parsed.
 */
import { formatPlace, readYaml } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';
import { z } from 'zod';
import { readTextFile } from './files.ts';

const word = z.string().nullish();
/** A name that appears in the commands that a check prints. It must be a DNS name so that it is safe to use there. */
const name = z
  .string()
  .regex(/^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/, 'is not a DNS name')
  .nullish();
const Part = z.object({ host: word, service: z.object({ type: word }).nullish() }).nullish();
const Values = z.object({
  broker: Part,
  edge: Part,
  database: z.object({ secret: word, embedded: z.object({ storageClass: word }).nullish() }).nullish(),
  networkPolicies: z.object({ enabled: z.boolean().nullish() }).nullish(),
  mesh: z.object({ rootNamespace: name, istiod: name, clusterDomain: name }).nullish(),
});

/** The values of the chart. If a value is absent, the chart's default applies. */
export type ChartValues = z.infer<typeof Values>;

/**
 * Reads the values file that was passed as `--values`.
 * @throws MeshpassError `usage` with `FILE:LINE:COLUMN` for each problem
 */
export function readChartValues(file: string): ChartValues {
  const read = readYaml(readTextFile(file, '--values'), file);
  if ('problems' in read) throw invalid(read.problems.map(({ place, message }) => `${formatPlace(place)} ${message}`));
  const values = Values.safeParse(read.yaml.value ?? {});
  if (values.success) return values.data;
  const problems = values.error.issues.map(({ path, message }) => {
    const text = [...path, message].join('.').replace(/\.(?=[^.]*$)/, ': ');
    return `${formatPlace(read.yaml.locate(path, 'value'))} ${text}`;
  });
  throw invalid(problems);
}

function invalid(problems: readonly string[]): MeshpassError {
  return new MeshpassError('usage', `--values: ${problems.join('\n')}`);
}
