import type { ReflectMessage } from '@bufbuild/protobuf/reflect';
import type { ExpectedValues } from '../configuration.ts';

/** Context of a check. */
export interface Context {
  /** Undefined if the workspace is not known yet. Name checks are then skipped. */
  readonly expected: ExpectedValues | undefined;
  /** Messages that contain the value, innermost last. */
  readonly parents: ReflectMessage[];
  /** Records that the resource refers to another one. */
  refer(kind: Reference, name: string): void;
}

/**
 * Kind of a reference. Clusters and route configurations are referred to by name, internal listeners by an endpoint.
 */
export type Reference = 'cluster' | 'route' | 'internal listener';

/**
 * Checks a value.
 * @returns the reason for rejecting the value, or undefined if it is accepted
 */
export type Check<T = unknown> = (value: T, context: Context) => string | undefined;

/** Rule for one field. An empty rule accepts everything that the field's type accepts. */
export interface Rule {
  /** Checks the value, every item of a list, or every value of a map. */
  readonly check?: Check<never>;
  /** Whether `check` is the only check. Inner messages are then not visited. */
  readonly leaf?: true;
  /** Message types accepted in an `Any`. */
  readonly any?: readonly string[];
  /** Checks every map key. */
  readonly keys?: Check<string>;
  /** Whether a rejected item or map entry can be omitted separately. */
  readonly each?: true;
  /**
   * Creates the replacement for a rejected item in an ordered list, in which later items would otherwise change their
   * meaning. The item's omissible parts have already been removed.
   */
  readonly instead?: (item: ReflectMessage, why: { readonly what: string; readonly reason: string }) => ReflectMessage;
  /** Whether the message is meaningless without the field, in which case both are omitted. */
  readonly needed?: true;
}

/** Rule for one message type. */
export interface MessageRule {
  /** Fields that accept everything that their type accepts. */
  readonly free?: string;
  readonly fields?: Readonly<Record<string, Rule>>;
  /** Whether omitting any part would change the meaning. */
  readonly whole?: true;
  /** Whether every part is a condition and all must be met, so that fewer parts match more. */
  readonly conditions?: true;
  /** Oneofs that must have one member set. */
  readonly oneOf?: readonly string[];
  /** Fields that must be set. */
  readonly set?: readonly string[];
  /** Checks the message after its fields. */
  readonly check?: Check<ReflectMessage>;
}

export type AllowList = Readonly<Record<string, MessageRule>>;

/** Creates a rule with a check for values of the field's type. */
export function rule<T>(check: Check<T>, more: Omit<Rule, 'check'> = {}): Rule {
  return { check: check as Check<never>, ...more };
}

/**
 * Creates the entry of a message with a name and a typed configuration.
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

/** Returns a field's scalar or its default. */
export function scalar<T>(message: ReflectMessage, name: string): T {
  return message.get(message.desc.fields.find((one) => one.name === name)!) as T;
}

/** Returns a list's items. */
export function items<T = ReflectMessage>(message: ReflectMessage, name: string): T[] {
  return [...(message.get(message.desc.fields.find((one) => one.name === name)!) as Iterable<T>)];
}
