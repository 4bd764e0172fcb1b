/**
 * Decides whether a file that was discovered has to be loaded as manifests. The decision depends on the content of the
 * file and not on its name.
 */
import { basename } from 'node:path';
import { decodeText } from './decode.ts';
import { cutDocuments, whyTooLarge } from './documents.ts';
import { MAX_BYTES } from './load.ts';
import { parseYamlDocuments } from './read-yaml.ts';

/** Matches the usual first line of an object. This is only a shortcut. Text that does not match is parsed. */
const USUAL = /^apiVersion:/m;

/** The API group of files that are only read by kustomize. The API server does not know any of its kinds. */
const FOR_TOOLS = /^kustomize\.config\.k8s\.io\//;

/**
 * Whether a file may contain an object that `kubectl apply` accepts. If the text cannot be parsed, it is assumed to
 * contain one, unless the name of a required field cannot appear in it.
 * @param name the file name. A `Chart.yaml` has an `apiVersion`, but is not an object
 * @example
 * ```ts
 * import { holdsObjects } from '@meshpass/istio';
 * holdsObjects(Buffer.from('apiVersion: v1\nkind: Pod\n'), 'pod.yaml'); // => true
 * holdsObjects(Buffer.from('replicas: 3\n'), 'values.yaml'); // => false
 * ```
 */
export function holdsObjects(bytes: Uint8Array, name: string): boolean {
  if (bytes.byteLength > MAX_BYTES) return true;
  const text = decodeText(bytes);
  if (text === undefined) return true;
  const isChart = basename(name) === 'Chart.yaml';
  if (USUAL.test(text) && !isChart && !text.includes('kustomize.config.k8s.io')) return true;
  for (const { start, end } of cutDocuments(text)) {
    const part = text.slice(start, end);
    if (whyTooLarge(part) !== undefined) return true;
    const documents = parseYamlDocuments(part);
    if (documents?.some((one) => isManifest(one, isChart)) ?? couldSpellField(text)) return true;
  }
  return false;
}

function isManifest(document: unknown, isChart: boolean): boolean {
  if (typeof document !== 'object' || document === null || Array.isArray(document)) return false;
  const { apiVersion, kind } = document as Record<string, unknown>;
  if (apiVersion === undefined || (isChart && kind === undefined)) return false;
  return !(typeof apiVersion === 'string' && FOR_TOOLS.test(apiVersion));
}

/**
 * Whether the content of a file could include the field `apiVersion`. The only ways to hide its letters are an escape,
 * a tag (`!!binary`) or another encoding. UTF-16 without a byte order mark contains NUL characters.
 */
function couldSpellField(text: string): boolean {
  return /apiVersion|[\\!]/i.test(text) || text.includes('\0');
}
