/**
 * Set of calls that an access file grants. It is derived from the file itself rather than from the compiled policies,
 * so that the two can be compared.
 */

import {
  ATTESTED_CLAIMS,
  type ClaimValues,
  type IdentityTokens,
  type Operation,
  type ResolvedGrant,
  type ResolvedTarget,
} from '@meshpass/access/compile';
import { all, any, type Condition, flag, not, path, text } from '../diff/formula/condition.ts';
import type { TextTest } from '../diff/formula/text-test.ts';

/** Condition that the peer has a certificate from one of these namespaces. */
export function namespacePeerCondition(namespaces: readonly string[]): Condition {
  return all([flag('peer'), any(namespaces.map((name) => text('peer.namespace', exactly(name))))]);
}

/**
 * Condition that the request has a valid identity token for this grant, and no invalid token where that token belongs.
 */
export function validTokenCondition(grant: string, tokens: IdentityTokens): Condition {
  return all([
    text('token.issuer', exactly(tokens.issuer)),
    text('token.subject', { form: 'present' }),
    text('token.claim:aud', exactly(tokens.audience)),
    text('token.claim:grants', exactly(grant)),
    not(flag(`unverified:header ${tokens.header.toLowerCase()}`)),
  ]);
}

/**
 * Condition that the connection's server name has this port and host, in any subset: `outbound_.PORT_.SUBSET_.HOST`.
 */
export function sniCondition(host: string, port: number): Condition {
  return all([
    text('connection.sni', { form: 'prefix', text: `outbound_.${port}_.` }),
    text('connection.sni', { form: 'suffix', text: `_.${host}` }),
  ]);
}

/** Returns the calls that a grant allows at one port of a Service. */
export function grantedCalls(
  { grant, namespace }: Pick<ResolvedGrant, 'grant' | 'namespace'>,
  { target, port, host }: ResolvedTarget,
  tokens: IdentityTokens,
): Condition {
  const connection = all([namespacePeerCondition([namespace]), sniCondition(host, port.port)]);
  if (port.protocol === 'tcp') return connection;
  return all([
    connection,
    validTokenCondition(grant.name, tokens),
    ...(target.allow ? [any(target.allow.map(operation))] : []),
    ...(target.deny ?? []).map((denied) => not(operation(denied))),
    has(target.require),
    ...(target.allow ?? []).map((one) => any([not(operation(one)), has(one.require)])),
  ]);
}

/** Requires proof claims in the identity token. For each claim, at least one of the listed values must match. */
function has(require: ClaimValues = {}): Condition {
  return all(
    Object.entries(require).map(([name, values]) =>
      any(values.map((value) => text(`token.claim:${ATTESTED_CLAIMS}][${name}`, exactly(value)))),
    ),
  );
}

function operation({ method, path: written }: Operation): Condition {
  return all([...(method === '*' ? [] : [text('method', exactly(method))]), path(written)]);
}

function exactly(value: string): TextTest {
  return { form: 'exact', text: value };
}
