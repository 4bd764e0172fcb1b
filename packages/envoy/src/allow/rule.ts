import type { ReflectMessage } from '@bufbuild/protobuf/reflect';
import type { ExpectedValues } from '../configuration.ts';

/** Context in which a value is checked. */
export interface Context {
  /** Values of the workspace. Undefined if the workspace is not known yet, in which case name checks are skipped. */
  readonly expected: ExpectedValues | undefined;
  /** Messages that contain the value, from the outermost to the innermost. */
  readonly parents: ReflectMessage[];
  /** Records that the resource refers to another one. */
  refer(kind: Reference, name: string): void;
}

/**
 * Kind of a reference. Clusters and route configurations are referenced by name, internal listeners by an endpoint.
 */
export type Reference = 'cluster' | 'route' | 'internal listener';

/**
 * Checks a value.
 * @returns the reason for rejecting the value, or undefined if it is accepted
 */
export type Check<T = unknown> = (value: T, context: Context) => string | undefined;

/** Rule for one field. An empty rule accepts every value that the field's type allows. */
export interface Rule {
  /** Checks the value, every item of a list, or every value of a map. */
  readonly check?: Check<never>;
  /** Whether `check` is the only check. If so, nested messages are not visited. */
  readonly leaf?: true;
  /** Message types that are accepted in an `Any`. */
  readonly any?: readonly string[];
  /** Checks every map key. */
  readonly keys?: Check<string>;
  /** Whether a rejected item or map entry can be omitted separately. */
  readonly each?: true;
  /**
   * Creates the replacement for a rejected item of an ordered list. Without a replacement, later items would change
   * their meaning. The parts of the item that can be omitted have already been removed.
   */
  readonly instead?: (item: ReflectMessage, why: { readonly what: string; readonly reason: string }) => ReflectMessage;
  /** Whether the message is meaningless without the field. If so, a rejected field also removes the message. */
  readonly needed?: true;
}

/** Rule for one message type. */
export interface MessageRule {
  /** Names of fields that accept every value that their type allows, separated by spaces. */
  readonly free?: string;
  readonly fields?: Readonly<Record<string, Rule>>;
  /** Whether omitting any part would change the meaning of the message. */
  readonly whole?: true;
  /** Whether every part is a condition and all must be met. Omitting a part then makes the message match more. */
  readonly conditions?: true;
  /** Oneofs of which a member must be set. */
  readonly oneOf?: readonly string[];
  /** Fields that must be set. */
  readonly set?: readonly string[];
  /** Checks the message after its fields have been checked. */
  readonly check?: Check<ReflectMessage>;
}

export type AllowList = Readonly<Record<string, MessageRule>>;

/** Creates a rule from a check for values of the field's type. */
export function rule<T>(check: Check<T>, more: Omit<Rule, 'check'> = {}): Rule {
  return { check: check as Check<never>, ...more };
}

/**
 * Creates the entry for a message that consists of a name and a typed configuration.
 * @param any accepted types
 */
export function extension(any: readonly string[], name?: Rule): MessageRule {
  const entry = { whole: true, oneOf: ['config_type'] } as const;
  const fields = { typed_config: { any } };
  return name ? { ...entry, fields: { name, ...fields } } : { ...entry, free: 'name', fields };
}

/** Returns the message in a field, or undefined if it is not set. */
export function part(message: ReflectMessage, name: string): ReflectMessage | undefined {
  const field = message.desc.fields.find((one) => one.name === name);
  return field && message.isSet(field) ? (message.get(field) as ReflectMessage) : undefined;
}

/** Returns the scalar in a field, or its default. */
export function scalar<T>(message: ReflectMessage, name: string): T {
  return message.get(message.desc.fields.find((one) => one.name === name)!) as T;
}

/** Returns the items of a list field. */
export function items<T = ReflectMessage>(message: ReflectMessage, name: string): T[] {
  return [...(message.get(message.desc.fields.find((one) => one.name === name)!) as Iterable<T>)];
}
