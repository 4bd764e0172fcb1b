/**
 * Builds the set of calls that an access file grants. The set is derived from the file itself instead of the compiled
 * policies, so that the two can be compared.
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

/** Returns a condition that requires the peer to have a certificate from one of the given namespaces. */
export function namespacePeerCondition(namespaces: readonly string[]): Condition {
  return all([flag('peer'), any(namespaces.map((name) => text('peer.namespace', exactly(name))))]);
}

/**
 * Returns a condition that requires a valid identity token for a grant, and no invalid token in the place where it
 * belongs.
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
 * Returns a condition that requires the server name to refer to this host and port, in any subset:
 * `outbound_.PORT_.SUBSET_.HOST`.
 */
export function sniCondition(host: string, port: number): Condition {
  return all([
    text('connection.sni', { form: 'prefix', text: `outbound_.${port}_.` }),
    text('connection.sni', { form: 'suffix', text: `_.${host}` }),
  ]);
}

/** Returns the calls that a grant allows to a single port of a Service. */
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

/**
 * Requires the identity token to contain certain claims from the holder's proof. At least one of the values that are
 * listed for a claim has to match.
 */
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
