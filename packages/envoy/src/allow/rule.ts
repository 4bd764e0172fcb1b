/** What the allow list is made of. */
import type { Message } from '@bufbuild/protobuf';
import type { ReflectMessage } from '@bufbuild/protobuf/reflect';
import type { Expected } from '../configuration.ts';

/** What a check knows beside the value. */
export interface Context {
  /** Undefined while nothing is known of the workspace: then checks against names are left out. */
  readonly expected: Expected | undefined;
  /** The messages around the value, the innermost last. */
  readonly parents: ReflectMessage[];
  /** Notes that the resource leads to another one. */
  refer(kind: Reference, name: string): void;
}

/** A cluster and a route configuration may be led to by name; an internal listener by an endpoint. */
export type Reference = 'cluster' | 'route' | 'internal listener';

/** @returns why the value is not accepted; undefined where it is */
export type Check<T = unknown> = (value: T, context: Context) => string | undefined;

/** What is accepted in one field. Without any member: whatever the type of the field accepts. */
export interface Rule {
  /** Of a value; of every item of a list, and of every value of a map. */
  readonly check?: Check<never>;
  /** The check is the only one: nothing below is looked at. */
  readonly leaf?: true;
  /** Names of the message types that are accepted in an `Any`. */
  readonly any?: readonly string[];
  /** Of every key of a map. */
  readonly keys?: Check<string>;
  /** An item, or an entry of a map, that is not accepted can be left out by itself. */
  readonly each?: true;
  /** Without the field, the message would mean something else: it is left out with it. */
  readonly needed?: true;
}

/** What is accepted of one message type. */
export interface Entry {
  /** Names of the fields of which everything is accepted that their type accepts. */
  readonly free?: string;
  readonly fields?: Readonly<Record<string, Rule>>;
  /** No part can be left out: less of it would mean something else. */
  readonly whole?: true;
  /** Oneofs of which a member must be there. */
  readonly oneOf?: readonly string[];
  /** Fields that must be there. */
  readonly set?: readonly string[];
  /** Of the message, after its fields. */
  readonly check?: Check<ReflectMessage>;
}

export type AllowList = Readonly<Record<string, Entry>>;

/** Any check of a value whose type the field gives. */
export function rule<T>(check: Check<T>, more: Omit<Rule, 'check'> = {}): Rule {
  return { check: check as Check<never>, ...more };
}

/** The message of a field; undefined where it is not set. */
export function part(message: ReflectMessage, name: string): ReflectMessage | undefined {
  const field = message.desc.fields.find((one) => one.name === name);
  return field && message.isSet(field) ? (message.get(field) as ReflectMessage) : undefined;
}

/** A scalar of a field, or its default. */
export function scalar<T>(message: ReflectMessage, name: string): T {
  return message.get(message.desc.fields.find((one) => one.name === name)!) as T;
}

/** The items of a field. */
export function items<T = ReflectMessage>(message: ReflectMessage, name: string): T[] {
  return [...(message.get(message.desc.fields.find((one) => one.name === name)!) as Iterable<T>)];
}

/** The plain message of a reflected one. */
export function plain(message: ReflectMessage): Message {
  return message.message;
}
