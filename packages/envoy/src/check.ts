/** The agent's side of the allow list: a configuration is accepted as a whole, or refused with every reason. */
import { fromBinary, type Message } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { shown } from './allow/names.ts';
import type { Reference } from './allow/rule.ts';
import {
  type Expected,
  MAX_CONFIGURATION_BYTES,
  MAX_DEPTH,
  MAX_REFUSALS,
  MAX_RESOURCE_BYTES,
  MAX_RESOURCES,
  MAX_VALUES,
  type Refusal,
  type WorkspaceConfiguration,
} from './configuration.ts';
import { KINDS, type Kind, kindOf } from './resource.ts';
import { visitResource } from './walk.ts';
import { type Checked, checkWhole } from './whole.ts';

/** A configuration as it was checked. To be accepted, `refusals` must be empty. */
export interface ReadConfiguration {
  readonly refusals: readonly Refusal[];
  readonly listeners: readonly Message[];
  readonly clusters: readonly Message[];
  readonly routes: readonly Message[];
}

/**
 * Holds what a broker sends against the allow list.
 * @returns every reason against it, at most MAX_REFUSALS; none where it is accepted. Give Envoy what `readConfiguration` read,
 * not the bytes of the broker: two parsers may read the same bytes differently
 */
export function checkConfiguration(configuration: WorkspaceConfiguration, expected: Expected): readonly Refusal[] {
  return readConfiguration(configuration, expected).refusals;
}

/** As `checkConfiguration`, with the messages that were checked: their unknown parts, if any, are among the refusals. */
export function readConfiguration(configuration: WorkspaceConfiguration, expected: Expected): ReadConfiguration {
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

/** Ends the check: what is known is enough to refuse the configuration. */
class Enough extends Error {}

function checkAll(
  configuration: WorkspaceConfiguration,
  expected: Expected,
  read: Record<Kind['list'], Message[]>,
  refuse: (resource: string, path: string, reason: string) => void,
): void {
  const checked: Checked[] = [];
  let values = 0;
  const count = (): void => {
    if (++values <= MAX_VALUES) return;
    refuse('configuration', '', `more than ${MAX_VALUES} values`);
    throw new Enough();
  };
  for (const kind of KINDS) {
    for (const [index, any] of configuration[kind.list].entries()) {
      const message = decode(any, kind, (reason) => refuse(`${kind.list}[${index}]`, '', reason));
      if (!message) continue;
      const resource = `${kind.title} ${shown(nameOf(message)).slice(1, -1)}`;
      const references: [Reference, string][] = [];
      visitResource(message, {
        ...{ expected, repair: false, count },
        found: ({ where, reason, what }) => refuse(resource, where, `${what}: ${reason}`),
        refer: (to, name) => references.push([to, name]),
      });
      read[kind.list].push(message);
      checked.push({ resource, kind, message, name: nameOf(message), references });
    }
  }
  checkWhole(checked, refuse);
}

/** Before anything is decoded. */
function bound({ listeners, clusters, routes }: WorkspaceConfiguration): string | undefined {
  const count = listeners.length + clusters.length + routes.length;
  if (count > MAX_RESOURCES) return `${count} resources; at most ${MAX_RESOURCES} are accepted`;
  const bytes = [...listeners, ...clusters, ...routes].reduce((sum, { value }) => sum + value.length, 0);
  return bytes > MAX_CONFIGURATION_BYTES
    ? `${bytes} bytes; at most ${MAX_CONFIGURATION_BYTES} are accepted`
    : undefined;
}

function decode(any: Any, kind: Kind, refuse: (reason: string) => void): Message | undefined {
  if (kindOf(any) !== kind) return void refuse(`${shown(any.typeUrl)} is not a ${kind.title}`);
  if (any.value.length > MAX_RESOURCE_BYTES)
    return void refuse(`${any.value.length} bytes; at most ${MAX_RESOURCE_BYTES} are accepted`);
  try {
    return fromBinary(kind.type, any.value, { recursionLimit: MAX_DEPTH });
  } catch {
    return void refuse('it cannot be read, or is nested too deep');
  }
}

function nameOf(message: Message): string {
  return (message as unknown as { name: string }).name;
}
