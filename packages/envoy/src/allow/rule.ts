import type { ReflectMessage } from '@bufbuild/protobuf/reflect';
import type { ExpectedValues } from '../configuration.ts';

/** The context in which a value is checked. */
export interface Context {
  /** The values that the workspace expects. Undefined if the workspace is not known yet. Names are then not checked. */
  readonly expected: ExpectedValues | undefined;
  /** The messages that contain the value, from the outermost to the innermost. */
  readonly parents: ReflectMessage[];
  /** Records that the resource refers to another resource. */
  refer(kind: Reference, name: string): void;
}

/**
 * The kind of a reference. Clusters and route configurations are referenced by name, and internal listeners are
 * referenced by an endpoint.
 */
export type Reference = 'cluster' | 'route' | 'internal listener';

/**
 * Checks a value.
 * @returns the reason for rejecting the value, or undefined if it is accepted
 */
export type Check<T = unknown> = (value: T, context: Context) => string | undefined;

/** The rule for a single field. An empty rule accepts every value that the type of the field allows. */
export interface Rule {
  /** Checks the value, or every item of a list, or every value of a map. */
  readonly check?: Check<never>;
  /** Whether `check` is the only check. If so, nested messages are not visited. */
  readonly leaf?: true;
  /** The types of messages that are accepted in an `Any`. */
  readonly any?: readonly string[];
  /** Checks every key of a map. */
  readonly keys?: Check<string>;
  /** Whether a rejected item or map entry can be removed on its own. */
  readonly each?: true;
  /**
   * Creates a replacement for a rejected item of an ordered list. Without one, later items would have a different
   * meaning. The parts of the item that can be omitted have already been removed.
   */
  readonly instead?: (item: ReflectMessage, why: { readonly what: string; readonly reason: string }) => ReflectMessage;
  /**
   * Whether the message is meaningless without this field. If so, the message is removed when the field is rejected.
   */
  readonly needed?: true;
}

/** The rule for a message type. */
export interface MessageRule {
  /** The names of fields in which every value of the right type is accepted, separated by spaces. */
  readonly free?: string;
  readonly fields?: Readonly<Record<string, Rule>>;
  /** Whether omitting any part would change the meaning of the message. */
  readonly whole?: true;
  /**
   * Whether every part is a condition and all of them must be met. If a part is omitted, the message matches more
   * requests.
   */
  readonly conditions?: true;
  /** Oneof groups in which a field must be set. */
  readonly oneOf?: readonly string[];
  /** Fields that must be set. */
  readonly set?: readonly string[];
  /** Checks the message, after its fields have been checked. */
  readonly check?: Check<ReflectMessage>;
}

export type AllowList = Readonly<Record<string, MessageRule>>;

/** Creates a rule from a function that checks values of the field's type. */
export function rule<T>(check: Check<T>, more: Omit<Rule, 'check'> = {}): Rule {
  return { check: check as Check<never>, ...more };
}

/**
 * Creates the rule for a message that consists of a name and a typed configuration.
 * @param any the types that are accepted
 */
export function extension(any: readonly string[], name?: Rule): MessageRule {
  const entry = { whole: true, oneOf: ['config_type'] } as const;
  const fields = { typed_config: { any } };
  return name ? { ...entry, fields: { name, ...fields } } : { ...entry, free: 'name', fields };
}

/** Returns the message in a field, or undefined if the field is not set. */
export function part(message: ReflectMessage, name: string): ReflectMessage | undefined {
  const field = message.desc.fields.find((one) => one.name === name);
  return field && message.isSet(field) ? (message.get(field) as ReflectMessage) : undefined;
}

/** Returns the scalar value of a field, or its default. */
export function scalar<T>(message: ReflectMessage, name: string): T {
  return message.get(message.desc.fields.find((one) => one.name === name)!) as T;
}

/** Returns the items of a list field. */
export function items<T = ReflectMessage>(message: ReflectMessage, name: string): T[] {
  return [...(message.get(message.desc.fields.find((one) => one.name === name)!) as Iterable<T>)];
}
