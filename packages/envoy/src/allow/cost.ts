/**
 * Estimates how much memory Envoy needs for a configuration. Even if all values are within their bounds, they can add
 * up to too much. Each charge is based on how much Envoy's memory grew in measurements, rounded up.
 */
import type { ReflectMessage } from '@bufbuild/protobuf/reflect';
import { programSize } from '@meshpass/identity';
import { CONNECTION_MANAGER } from './http.ts';

/** The charge for a message whose type is not listed below, in KiB. */
const MESSAGE = 0.5;
/**
 * The charges by message type, in KiB. Each cluster and each HTTP stack has hundreds of statistics. Each TLS context
 * has its own copy of its certificates and ciphers.
 */
const BY_TYPE: Readonly<Record<string, number>> = {
  'envoy.config.cluster.v3.Cluster': 64,
  'envoy.config.listener.v3.FilterChain': 4,
  'envoy.config.route.v3.Route': 2,
  'envoy.config.route.v3.VirtualHost': 4,
  [CONNECTION_MANAGER]: 64,
  [CONNECTION_MANAGER.replace(/\w+$/, 'HttpFilter')]: 2,
  'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy': 8,
  'envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext': 48,
};
const REGEX = 'envoy.type.matcher.v3.RegexMatcher';
/** The number of RE2 instructions that fit in 1 KiB. Each of them needs about 5 bytes. */
const INSTRUCTIONS_PER_KIB = 128;
/** The value of `re2.max_program_size.error_level` in Envoy's bootstrap. Envoy rejects larger programs. */
const MAX_INSTRUCTIONS = 32_768;
/** The number of instructions that match any UTF-8 character. A negated class needs as many. */
const ANY_CHARACTER = 12;
/** The number of instructions for a Unicode class. `\p{L}` has about 600 ranges. */
const UNICODE_CLASS = 4_096;

/** Returns an upper bound for the memory that Envoy needs for a message without its nested messages, in KiB. */
export function envoyMemoryCost({ desc, message }: ReflectMessage): number {
  if (desc.typeName !== REGEX) return BY_TYPE[desc.typeName] ?? MESSAGE;
  return 1 + regexSize((message as unknown as { regex: string }).regex) / INSTRUCTIONS_PER_KIB;
}

/**
 * Returns an upper bound for the number of RE2 instructions that a regular expression compiles to. An expression with
 * `\Q` is charged the maximum, because all characters up to `\E` lose their usual meaning.
 */
function regexSize(regex: string): number {
  if (regex.includes('\\Q')) return MAX_INSTRUCTIONS;
  // A letter that ignores case can match up to three characters of up to three bytes each.
  const literal = /\(\?[a-zA-Z]*i/.test(regex) ? 6 : 1;
  return Math.min(
    MAX_INSTRUCTIONS,
    programSize(regex, (atom) => atomSize(atom, literal)),
  );
}

function atomSize(atom: string, literal: number): number {
  if (/^[\w/-]$/.test(atom)) return literal;
  // Simple character classes that only contain characters of one byte, such as [0-9a-f].
  if (/^\[[\w-]+\]$/.test(atom)) return literal * atom.length;
  return literal * (4 * atom.length + ANY_CHARACTER) + UNICODE_CLASS * (atom.split(/\\p/i).length - 1);
}
