/**
 * Estimates how much memory Envoy needs for a configuration, because many values that are within their bounds can add
 * up to too much. Each charge is the measured growth of Envoy's memory, rounded up.
 */
import type { ReflectMessage } from '@bufbuild/protobuf/reflect';
import { programSize } from '@meshpass/identity/regex/program-size';
import { CONNECTION_MANAGER } from './http.ts';

/** Charge for a message whose type is not listed below, KiB. */
const MESSAGE = 0.5;
/**
 * Charges by message type, KiB. Each cluster and each HTTP stack has hundreds of statistics. Each TLS context has its
 * own copy of its certificates and ciphers.
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
/** RE2 instructions that fit into 1 KiB. RE2 needs about 5 bytes per instruction. */
const INSTRUCTIONS_PER_KIB = 128;
/** `re2.max_program_size.error_level` in Envoy's bootstrap. Envoy rejects larger programs. */
const MAX_INSTRUCTIONS = 32_768;
/** Instructions for any UTF-8 character, and therefore also for a negated class. */
const ANY_CHARACTER = 12;
/** Instructions for a Unicode class. `\p{L}` has about 600 ranges. */
const UNICODE_CLASS = 4_096;

/** Returns an upper bound of the memory that Envoy needs for one message, excluding nested messages, KiB. */
export function envoyMemoryCost({ desc, message }: ReflectMessage): number {
  if (desc.typeName !== REGEX) return BY_TYPE[desc.typeName] ?? MESSAGE;
  return 1 + regexSize((message as unknown as { regex: string }).regex) / INSTRUCTIONS_PER_KIB;
}

/**
 * Returns an upper bound of the number of instructions that RE2 compiles a regular expression to. `\Q` is charged the
 * maximum, because it suspends the usual meaning of all characters until `\E`.
 */
function regexSize(regex: string): number {
  if (regex.includes('\\Q')) return MAX_INSTRUCTIONS;
  // A case-insensitive letter matches up to three characters of up to three bytes each.
  const literal = /\(\?[a-zA-Z]*i/.test(regex) ? 6 : 1;
  return Math.min(
    MAX_INSTRUCTIONS,
    programSize(regex, (atom) => atomSize(atom, literal)),
  );
}

function atomSize(atom: string, literal: number): number {
  if (/^[\w/-]$/.test(atom)) return literal;
  // Simple character classes that contain only one-byte characters, such as [0-9a-f].
  if (/^\[[\w-]+\]$/.test(atom)) return literal * atom.length;
  return literal * (4 * atom.length + ANY_CHARACTER) + UNICODE_CLASS * (atom.split(/\\p/i).length - 1);
}
