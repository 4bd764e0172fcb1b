/** Whether a file that was found, not named, must be read as manifests: decided by what it says, never by how it is called. */
import { basename } from 'node:path';
import { decodeText } from './decode.ts';
import { cutDocuments, exceedsBounds } from './documents.ts';
import { MAX_BYTES } from './load.ts';
import { readValues, YamlRefusal } from './read-yaml.ts';

/** Begins a document of an object in the usual way. It only ever saves a reading; what does not match is parsed. */
const USUAL = /^apiVersion:/m;

/** Read by kustomize itself: the API server knows no such kind. */
const FOR_TOOLS = /^kustomize\.config\.k8s\.io\//;

/**
 * False only where the text cannot hold an object that `kubectl apply` would take. What cannot be parsed counts as holding some,
 * unless nothing in it could spell the name of a field that every object needs.
 * @param name of the file: a `Chart.yaml` has an `apiVersion` and is no object
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
    if (exceedsBounds(part) !== undefined) return true;
    try {
      if (readValues(part).documents.some((one) => isManifest(one, isChart))) return true;
    } catch (thrown) {
      if (!(thrown instanceof YamlRefusal)) throw thrown;
      if (couldSpellField(text)) return true;
    }
  }
  return false;
}

function isManifest(document: unknown, isChart: boolean): boolean {
  if (typeof document !== 'object' || document === null || Array.isArray(document)) return false;
  const { apiVersion, kind } = document as Record<string, unknown>;
  if (apiVersion === undefined || (isChart && kind === undefined)) return false;
  return !(typeof apiVersion === 'string' && FOR_TOOLS.test(apiVersion));
}

/** Outside of an escape or a tag (`!!binary`), a field's name stands in the text letter by letter. */
function couldSpellField(text: string): boolean {
  return /apiVersion|[\\!]/i.test(text);
}
