/** Decides from its content, never from its name, whether a discovered file must be loaded as manifests. */
import { basename } from 'node:path';
import { decodeText } from './decode.ts';
import { cutDocuments, whyTooLarge } from './documents.ts';
import { MAX_BYTES } from './load.ts';
import { parseYamlDocuments } from './read-yaml.ts';

/** Matches the usual start of an object. Only a shortcut: a text that does not match is parsed. */
const USUAL = /^apiVersion:/m;

/** Files for kustomize itself. The API server has no such kind. */
const FOR_TOOLS = /^kustomize\.config\.k8s\.io\//;

/**
 * Whether a text may contain an object that `kubectl apply` accepts. A text that cannot be parsed counts as containing
 * one, unless it cannot spell the name of a required field.
 * @param name file name: a `Chart.yaml` has an `apiVersion` but is no object
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
 * Whether the text could contain the field `apiVersion`. Only an escape, a tag (`!!binary`) or another encoding can hide
 * its letters. UTF-16 without a byte order mark has NUL characters.
 */
function couldSpellField(text: string): boolean {
  return /apiVersion|[\\!]/i.test(text) || text.includes('\0');
}
