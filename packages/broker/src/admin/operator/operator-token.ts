/**
 * Issues and verifies the tokens that operators use in the CLI. They are JWTs (RFC 7519) signed with the same key as
 * the broker's other tokens, so every broker in the installation can verify them without storing them. A token is bound
 * to the CLI's key (RFC 9449 section 6.1). Its type, issuer and audience differ from those of all other tokens (RFC
 * 8725 sections 3.11 and 3.12).
 */
import { MeshpassError } from '@meshpass/identity';
import { jwtVerify } from 'jose';
import { z } from 'zod';
import { type Clock, toUnixSeconds } from '../../base/index.ts';
import { publishedKeys, type RotatingSigner } from '../../core/index.ts';
import { OperatorSession } from './caller.ts';
import type { OperatorSessions } from './sessions.ts';

/** Issues and verifies the tokens that operators use in the CLI. */
export type OperatorTokens = ReturnType<typeof createOperatorTokens>;

/** The `typ` header of operator tokens. */
export const OPERATOR_TOKEN = 'meshpass-operator+jwt';

const Claims = z.object({ cnf: z.object({ jkt: z.string() }), session: OperatorSession });

/** Returns the `iss` and `aud` claims of operator tokens. */
export function operatorTokenIssuer(publicUrl: string): string {
  return `${publicUrl}/operator`;
}

/** Creates the issuer and verifier of operator tokens. */
export function createOperatorTokens(
  signer: Pick<RotatingSigner, 'sign' | 'ring'>,
  publicUrl: string,
  clock: Clock,
  sessions: OperatorSessions,
) {
  const issuer = operatorTokenIssuer(publicUrl);
  return {
    /** Signs a token, which is valid until the session ends or has to be confirmed again. */
    issue: async (session: OperatorSession) => {
      const { id: sid, jkt, subject: sub } = session;
      const times = { iat: toUnixSeconds(clock), exp: sessions.confirmedUntil(session) };
      return await signer.sign(
        { iss: issuer, aud: [issuer], ...times, sub, sid, cnf: { jkt }, session },
        OPERATOR_TOKEN,
      );
    },
    /**
     * Verifies a token and returns its session, which may be due for confirmation or may have ended.
     * @throws MeshpassError `operator_session_ended`
     */
    read: async (token: string): Promise<OperatorSession> => {
      try {
        const key = ({ kid }: { readonly kid?: string }) => {
          const found = publishedKeys(signer.ring).find((one) => one.kid === kid);
          if (!found) throw new Error('the key does not belong to this broker');
          return found.publicKey;
        };
        const { payload } = await jwtVerify(token, key, {
          issuer,
          audience: issuer,
          typ: OPERATOR_TOKEN,
          algorithms: ['RS256'],
          requiredClaims: ['iat', 'exp'],
          // Expired tokens are accepted here, because they can still be renewed or used to sign out. The caller checks
          // when the session expires.
          currentDate: new Date(0),
        });
        const { cnf, session } = Claims.parse(payload);
        return { ...session, jkt: cnf.jkt };
      } catch (cause) {
        throw new MeshpassError(
          'operator_session_ended',
          'The broker rejected this operator token. Run meshpass login.',
          { cause },
        );
      }
    },
  };
}
