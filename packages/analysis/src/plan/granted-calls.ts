/**
 * What an access file grants, as a set of calls. Made from the file alone and not from what it compiles to, so that the one
 * can be held against the other.
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

/** A certificate of one of these namespaces. */
export function holderOf(namespaces: readonly string[]): Condition {
  return all([flag('peer'), any(namespaces.map((name) => text('peer.namespace', exactly(name))))]);
}

/** An identity token that names the grant, and nothing in its place that does not verify. */
export function perfectToken(grant: string, tokens: IdentityTokens): Condition {
  return all([
    text('token.issuer', exactly(tokens.issuer)),
    text('token.subject', { form: 'present' }),
    text('token.claim:aud', exactly(tokens.audience)),
    text('token.claim:grants', exactly(grant)),
    not(flag(`unverified:header ${tokens.header.toLowerCase()}`)),
  ]);
}

/** A connection by a server name of this port and host, in whatever subset: `outbound_.PORT_.SUBSET_.HOST`. */
export function namedBy(host: string, port: number): Condition {
  return all([
    text('connection.sni', { form: 'prefix', text: `outbound_.${port}_.` }),
    text('connection.sni', { form: 'suffix', text: `_.${host}` }),
  ]);
}

/** The calls that a grant gives at one port of one Service. */
export function grantedCalls(
  { grant, namespace }: Pick<ResolvedGrant, 'grant' | 'namespace'>,
  { target, port, host }: ResolvedTarget,
  tokens: IdentityTokens,
): Condition {
  const connection = all([holderOf([namespace]), namedBy(host, port.port)]);
  if (port.protocol === 'tcp') return connection;
  return all([
    connection,
    perfectToken(grant.name, tokens),
    ...(target.allow ? [any(target.allow.map(operation))] : []),
    ...(target.deny ?? []).map((denied) => not(operation(denied))),
    has(target.require),
    ...(target.allow ?? []).map((one) => any([not(operation(one)), has(one.require)])),
  ]);
}

/** Claims of the proof that the identity token has to repeat, one of the values of each. */
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
