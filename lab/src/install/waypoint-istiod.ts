/**
 * An istiod whose waypoints run on Envoy as its project releases it, which lacks two parts of Istio's own build. istiod has a switch for
 * neither, so that a copy of its module is built with both replaced. Peers of a waypoint then have no names in telemetry; all else is istiod's own.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LabError } from '../error.ts';
import { must } from '../run.ts';
import { digestOf, goEnvironment, TOOLS, versionOf } from './go.ts';
import { ISTIO, type Module } from './go-modules.ts';
import { fillOnce } from './once.ts';

const BINARY = 'pilot-discovery';
const NO_FILTER =
  '\treturn &hcm.HttpFilter{Name: "no_peer_metadata", ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: protoconv.MessageToAny(&sfs.Config{})}}\n';

const FILTERS = 'pilot/pkg/xds/filters/filters.go';
const LISTENER = 'pilot/pkg/networking/core/listener.go';
const [ISTIO_STRING, ENVOY_STRING] = ['"istio.hashable_string"', '"envoy.hashable_string"'];
const DOWNSTREAM = 'func GenerateWaypointDownstreamMetadataFilter() *hcm.HttpFilter {\n';
const UPSTREAM = 'func GenerateWaypointUpstreamMetadataFilter() *hcm.HttpFilter {\n';

/** File, text that it must have, and the text in its place. */
const REPLACEMENTS: readonly (readonly [file: string, found: string, replacement: string])[] = [
  [FILTERS, ISTIO_STRING, ENVOY_STRING],
  [LISTENER, ISTIO_STRING, ENVOY_STRING],
  [FILTERS, DOWNSTREAM, DOWNSTREAM + NO_FILTER],
  [FILTERS, UPSTREAM, UPSTREAM + NO_FILTER],
];

/** @returns path of istiod. @throws LabError `lab_install` with the compiler's last lines, or for a release with other sources */
export async function buildWaypointIstiod(cache: string, progress: (line: string) => void): Promise<string> {
  const folder = join(TOOLS, ISTIO.folder);
  const home = join(cache, `waypoint-istiod-${await digestOf(folder, JSON.stringify(REPLACEMENTS))}`);
  const fill = async (work: string): Promise<string> => {
    progress(`building istiod ${await versionOf(ISTIO)} for waypoints (once, about a minute after the other istiod)`);
    const out = join(work, 'out');
    await build(ISTIO, folder, work, join(out, BINARY));
    progress('built istiod for waypoints');
    return out;
  };
  await fillOnce(home, fill, progress);
  return join(home, BINARY);
}

async function build({ main, binaries }: Module, folder: string, work: string, output: string): Promise<void> {
  const options = { cwd: folder, env: goEnvironment() };
  await must(['go', 'mod', 'download', main], 'lab_install', options);
  const source = (await must(['go', 'list', '-m', '-f', '{{.Dir}}', main], 'lab_install', options)).trim();
  // Go takes no overlay for files of its own cache of modules, in which they are read-only.
  const copy = join(work, 'istio');
  await must(['cp', '-r', '--no-preserve=mode', source, copy], 'lab_install');
  for (const [file, found, replacement] of REPLACEMENTS) await replaceIn(join(copy, file), found, replacement);
  const modFile = join(work, 'go.mod');
  for (const name of ['go.mod', 'go.sum']) await writeFile(join(work, name), await readFile(join(folder, name)));
  await must(['go', 'mod', 'edit', `-replace=${main}=${copy}`, modFile], 'lab_install', options);
  const flags = [`-modfile=${modFile}`, '-mod=mod', '-trimpath', '-ldflags=-s -w', '-gcflags=all=-dwarf=false'];
  await must(['go', 'build', ...flags, '-o', output, binaries[BINARY]!], 'lab_install', options);
}

async function replaceIn(file: string, found: string, replacement: string): Promise<void> {
  const text = await readFile(file, 'utf8');
  if (!text.includes(found))
    throw new LabError('lab_install', `Waypoints cannot run with this release of Istio: ${file} lacks ${found.trim()}`);
  await writeFile(file, text.replaceAll(found, replacement));
}
