/**
 * Envoy's memory cost for a configuration, so that many values within their bounds do not add up to too much. Each
 * charge is rounded up from measured growth of Envoy's memory.
 */
import type { ReflectMessage } from '@bufbuild/protobuf/reflect';
import { programSize } from '@meshpass/identity/regex/program-size';
import { CONNECTION_MANAGER } from './http.ts';

/** KiB of any other message. */
const MESSAGE = 0.5;
/**
 * KiB by message type. Clusters and HTTP stacks keep hundreds of statistics each, and each TLS context a copy of its
 * certificates and ciphers.
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
/** RE2 needs about 5 bytes per instruction. */
const INSTRUCTIONS_PER_KIB = 128;
/** The bootstrap's `re2.max_program_size.error_level`. Envoy rejects larger programs. */
const MAX_INSTRUCTIONS = 32_768;
/** Any UTF-8 character, and therefore also a negated class. */
const ANY_CHARACTER = 12;
/** `\p{L}` has about 600 ranges. */
const UNICODE_CLASS = 4_096;

/** Upper bound of Envoy's memory for one message without its inner messages, KiB. */
export function envoyMemoryCost({ desc, message }: ReflectMessage): number {
  if (desc.typeName !== REGEX) return BY_TYPE[desc.typeName] ?? MESSAGE;
  return 1 + regexSize((message as unknown as { regex: string }).regex) / INSTRUCTIONS_PER_KIB;
}

/**
 * Upper bound of the instructions that RE2 compiles a regular expression to. Between `\Q` and `\E` no character has its
 * usual meaning.
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
  // Common classes of one-byte characters, such as [0-9a-f].
  if (/^\[[\w-]+\]$/.test(atom)) return literal * atom.length;
  return literal * (4 * atom.length + ANY_CHARACTER) + UNICODE_CLASS * (atom.split(/\\p/i).length - 1);
}
