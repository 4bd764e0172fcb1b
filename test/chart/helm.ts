/** The chart, as Helm renders it. */
import { execFile } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ensureHelm } from '@meshpass/lab/install/tools';
import { parseAllDocuments, stringify } from 'yaml';

export const CHART = fileURLToPath(new URL('../../deploy/helm/meshpass/', import.meta.url));
export const FIRST_INSTALL = join(CHART, 'ci/first-install-values.yaml');
export const PRODUCTION = join(CHART, 'ci/production-values.yaml');
/** Builds Helm on its first run on a machine. */
export const BUILD_MS = 900_000;

export interface Rendered {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly generateName?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  // biome-ignore lint/suspicious/noExplicitAny: of whatever kind it is; the API server's own schemas are held against it elsewhere
  readonly [member: string]: any;
}

let binary: Promise<string> | undefined;

/** @throws Error with Helm's output */
export async function helm(...args: readonly string[]): Promise<string> {
  binary ??= ensureHelm((line) => console.log(line));
  const { stdout } = await promisify(execFile)(await binary, args, { maxBuffer: 64 * 1024 * 1024 });
  return stdout;
}

/**
 * @param values upon those of the file
 * @param flags of `helm template`
 */
export async function render(file: string, values: object = {}, flags: readonly string[] = []): Promise<Rendered[]> {
  const more = join(mkdtempSync(join(tmpdir(), 'meshpass-chart-')), 'values.yaml');
  writeFileSync(more, stringify(values));
  const where = ['--namespace', 'meshpass-system', '--kube-version', '1.33.0'];
  const text = await helm('template', 'meshpass', CHART, ...where, '-f', file, '-f', more, ...flags);
  // As Kubernetes reads it: 0440 is octal.
  return parseAllDocuments(text, { version: '1.1' })
    .map((document) => document.toJS() as Rendered | null)
    .filter((object) => object !== null);
}

export function find(objects: readonly Rendered[], kind: string, name: string): Rendered {
  const found = objects.filter((object) => object.kind === kind && object.metadata.name === name);
  if (found.length !== 1) throw new Error(`${found.length} of ${kind} ${name}`);
  return found[0]!;
}
