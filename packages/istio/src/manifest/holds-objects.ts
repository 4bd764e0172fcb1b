/**
 * Decides whether a discovered file must be loaded as manifests. The decision is based on the file's content, not on
 * its name.
 */
import { basename } from 'node:path';
import { decodeText } from './decode.ts';
import { cutDocuments, whyTooLarge } from './documents.ts';
import { MAX_BYTES } from './load.ts';
import { parseYamlDocuments } from './read-yaml.ts';

/** Matches the usual first line of an object. This is only a shortcut: text that does not match is parsed instead. */
const USUAL = /^apiVersion:/m;

/** API group of files that only kustomize reads. The API server has no such kind. */
const FOR_TOOLS = /^kustomize\.config\.k8s\.io\//;

/**
 * Whether a text may contain an object that `kubectl apply` accepts. Text that cannot be parsed is assumed to contain
 * one, unless it cannot contain the name of a required field.
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
 * Whether the text could contain the field `apiVersion`. Its letters can only be hidden by an escape, a tag
 * (`!!binary`) or another encoding. UTF-16 without a byte order mark contains NUL characters.
 */
function couldSpellField(text: string): boolean {
  return /apiVersion|[\\!]/i.test(text) || text.includes('\0');
}
