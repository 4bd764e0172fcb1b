/** What a drill asks of the broker as an operator: to close a session, what it has of it, a signature. */
import { readFileSync } from 'node:fs';
import { RecordedSession } from '@meshpass/identity/drill-report';
import { isErrorCode, MeshpassError } from '@meshpass/identity/error';
import { type Answer, ask } from './ask.ts';

/** Each throws MeshpassError with the broker's own code. */
export interface Operator {
  close(session: string): Promise<void>;
  recorded(session: string): Promise<RecordedSession>;
  /** @returns a compact JWS */
  sign(report: unknown): Promise<string>;
}

/** @throws MeshpassError `config_invalid` where the file cannot be read */
export function asOperator(broker: string, tokenFile: string, ca: string | undefined): Operator {
  let authorization: string;
  try {
    authorization = `Bearer ${readFileSync(tokenFile, 'utf8').trim()}`;
  } catch (cause) {
    throw new MeshpassError('config_invalid', `The operator token ${tokenFile} cannot be read.`, { cause });
  }
  const post = (path: string, body: unknown) =>
    answered(
      ask(`${broker}${path}`, {
        ...{ method: 'POST', body: JSON.stringify(body), ca },
        headers: { authorization, 'content-type': 'application/json' },
      }),
    );
  return {
    close: async (session) => {
      const { closed } = (await post('/admin/sessions/close', { id: session, reason: 'drill' })) as {
        closed: string[];
      };
      if (!closed.includes(session)) throw new MeshpassError('not_found', 'The broker had no such session to close.');
    },
    recorded: async (session) => {
      const path = `/admin/drill/sessions/${encodeURIComponent(session)}`;
      return RecordedSession.parse(
        await answered(ask(`${broker}${path}`, { method: 'GET', headers: { authorization }, ca })),
      );
    },
    sign: async (report) => ((await post('/admin/drill/evidence', report)) as { evidence: string }).evidence,
  };
}

async function answered(asked: Promise<Answer>): Promise<unknown> {
  const { status, json } = await asked;
  if (status >= 200 && status < 300) return json;
  const { error_code: code, error_description: text } = (json ?? {}) as Record<string, unknown>;
  throw new MeshpassError(
    isErrorCode(code) ? code : 'internal',
    typeof text === 'string' ? text.slice(0, 1000) : `The broker answered ${status}.`,
  );
}
