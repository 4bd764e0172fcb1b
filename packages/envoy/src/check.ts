/**
 * Applies the allow list in the agent. The agent either accepts a whole configuration, or rejects it and reports all
 * reasons.
 */
import type { Message } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { quoteUntrusted } from './allow/names.ts';
import type { Reference } from './allow/rule.ts';
import {
  type ExpectedValues,
  MAX_CONFIGURATION_BYTES,
  MAX_COST_KIB,
  MAX_DEPTH,
  MAX_REFUSALS,
  MAX_RESOURCE_BYTES,
  MAX_RESOURCES,
  MAX_VALUES,
  type Refusal,
  type WorkspaceConfiguration,
} from './configuration.ts';
import { KINDS, type Kind, kindOf } from './resource.ts';
import { decodeMessage, walkResource } from './walk.ts';
import { type CheckedResource, checkResourceReferences } from './whole.ts';

/**
 * Checks a configuration from the broker against the allow list.
 * @returns the refusals, at most MAX_REFUSALS, or an empty list if the configuration is accepted. Send the messages
 *   from `readConfiguration` to Envoy, not the bytes from the broker, which two parsers might decode differently
 */
export function checkConfiguration(
  configuration: WorkspaceConfiguration,
  expected: ExpectedValues,
): readonly Refusal[] {
  return readConfiguration(configuration, expected).refusals;
}

/**
 * Checks a configuration in the same way as `checkConfiguration`, and also returns the checked messages if there are no
 * refusals. Unknown parts are reported as refusals.
 */
export function readConfiguration(configuration: WorkspaceConfiguration, expected: ExpectedValues) {
  const refusals: Refusal[] = [];
  const refuse = (resource: string, path: string, reason: string): void => {
    refusals.push({ resource, path, reason });
    if (refusals.length >= MAX_REFUSALS) throw new Enough();
  };
  const read: Record<Kind['list'], Message[]> = { listeners: [], clusters: [], routes: [] };
  const result = { refusals, ...read };
  const tooMuch = bound(configuration);
  if (tooMuch !== undefined) {
    refuse('configuration', '', tooMuch);
    return result;
  }
  try {
    checkAll(configuration, expected, read, refuse);
  } catch (error) {
    if (!(error instanceof Enough)) throw error;
  }
  return result;
}

/** Thrown to stop the check early, because the configuration has already been rejected. */
class Enough extends Error {}

function checkAll(
  configuration: WorkspaceConfiguration,
  expected: ExpectedValues,
  read: Record<Kind['list'], Message[]>,
  refuse: (resource: string, path: string, reason: string) => void,
): void {
  const checked: CheckedResource[] = [];
  const budget = (most: number, reason: string) => {
    let sum = 0;
    return (more: number): void => {
      sum += more;
      if (sum <= most) return;
      refuse('configuration', '', reason);
      throw new Enough();
    };
  };
  const count = budget(MAX_VALUES, `more than ${MAX_VALUES} values`);
  const spend = budget(MAX_COST_KIB, `Envoy would need more than ${MAX_COST_KIB / 1_024} MiB`);
  for (const kind of KINDS) {
    for (const [index, any] of configuration[kind.list].entries()) {
      const message = readResource(any, kind, count, (reason) => refuse(`${kind.list}[${index}]`, '', reason));
      if (!message) continue;
      const resource = `${kind.title} ${quoteUntrusted(nameOf(message)).slice(1, -1)}`;
      const references: [Reference, string][] = [];
      walkResource(message, {
        expected,
        repair: false,
        count,
        spend,
        found: ({ where, reason, what }) => refuse(resource, where, `${what}: ${reason}`),
        refer: (to, name) => references.push([to, name]),
      });
      read[kind.list].push(message);
      checked.push({ resource, kind, message, name: nameOf(message), references });
    }
  }
  checkResourceReferences(checked, refuse);
}

/** Checks the limits that can be checked before decoding anything. */
function bound({ listeners, clusters, routes }: WorkspaceConfiguration): string | undefined {
  const count = listeners.length + clusters.length + routes.length;
  if (count > MAX_RESOURCES) return `${count} resources; at most ${MAX_RESOURCES} are accepted`;
  const bytes = [...listeners, ...clusters, ...routes].reduce((sum, { value }) => sum + value.length, 0);
  return bytes > MAX_CONFIGURATION_BYTES
    ? `${bytes} bytes; at most ${MAX_CONFIGURATION_BYTES} are accepted`
    : undefined;
}

function readResource(
  any: Any,
  kind: Kind,
  count: (values: number) => void,
  refuse: (reason: string) => void,
): Message | undefined {
  if (kindOf(any) !== kind) return void refuse(`${quoteUntrusted(any.typeUrl)} is not a ${kind.title}`);
  if (any.value.length > MAX_RESOURCE_BYTES)
    return void refuse(`${any.value.length} bytes; at most ${MAX_RESOURCE_BYTES} are accepted`);
  const message = decodeMessage(kind.type, any.value, MAX_DEPTH, count);
  return message ?? void refuse('it cannot be decoded, or is nested too deeply');
}

function nameOf(message: Message): string {
  return (message as unknown as { name: string }).name;
}
