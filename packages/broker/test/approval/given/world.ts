/** A whole broker and people with sessions at it, who request access and answer requests. */
import { authorize, parseAccess } from '@meshpass/access';
import { ApprovalsResponse } from '@meshpass/identity/approval';
import {
  type Answer,
  asSession,
  type Enrolled,
  enrol,
  type Harness,
  type HarnessOptions,
  newKey,
  OPERATOR_TOKEN,
  startHarness,
} from '../../harness/broker.ts';

export interface AuditRow {
  readonly id: string;
  readonly action: string;
  readonly outcome: string;
  readonly code: string | null;
  readonly subject: string | null;
  readonly grant_name: string | null;
  readonly target: string | null;
  readonly reason: string;
  readonly detail: string | null;
}

export interface World {
  readonly harness: Harness;
  readonly use: (text: string) => void;
  /** Opens a session for each subject, in a workspace of their own. */
  readonly people: (...subjects: readonly string[]) => Promise<Enrolled[]>;
  readonly post: (who: Enrolled, path: string, body: object) => Promise<Answer>;
  readonly overview: (who: Enrolled) => Promise<ApprovalsResponse>;
  /** Grants that a session has. */
  readonly grants: (who: Enrolled) => Promise<readonly string[]>;
  /** Rows of the audit log, the newest last. @param action only these */
  readonly rows: (action: string) => Promise<readonly AuditRow[]>;
  readonly metric: (name: string) => Promise<number | undefined>;
}

/** Access file that grants `dev` to every subject of the issuer `idp`. @param grants further lines below `grants:` */
export function accessFile(grants: string, more = ''): string {
  return `
trust: {issuers: {idp: {issuer: 'https://idp.example', audience: meshpass, signIn: {client: meshpass-operators}}, other: {issuer: 'https://other.example', audience: meshpass}}}
${more}
grants:
  dev: {who: [{issuer: idp}], to: [{service: orders.shop, port: 8080}]}
${grants}`;
}

let workspaces = 0;

export async function startWorld(options: HarnessOptions = {}): Promise<World> {
  const { parts, ...rest } = options;
  const harness = await startHarness({ ...rest, parts: (...given) => ({ authorize, ...parts?.(...given) }) });
  return {
    harness,
    use: (text) => {
      const { grants, trust, deny, operators, webhooks, contact } = parseAccess(text, 'access.yaml');
      harness.mesh.setAccess(grants, [], trust, deny, {
        ...(webhooks && { webhooks }),
        ...(contact !== undefined && { contact }),
      });
      harness.mesh.setOperators(operators);
    },
    people: async (...subjects) => {
      const enrolled: Enrolled[] = [];
      for (const subject of subjects) {
        const key = newKey();
        const proof = await harness.idp.prove(subject, { workspace: `given:${workspaces++}` });
        const { status, json } = await enrol(harness, subject, key, proof);
        if (status !== 200) throw new Error(`${subject} got no session: ${JSON.stringify(json)}`);
        enrolled.push({ ...json, key });
      }
      return enrolled;
    },
    post: async (who, path, body) =>
      await asSession(harness, who, {
        method: 'POST',
        path,
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      }),
    overview: async (who) => ApprovalsResponse.parse((await asSession(harness, who, { path: '/approvals' })).json),
    grants: async (who) => {
      const { json } = await asSession(harness, who, { path: '/services' });
      return [...new Set<string>(json.services.map((one: { grant: string }) => one.grant))];
    },
    rows: async (action) => {
      const headers = { authorization: `Bearer ${OPERATOR_TOKEN}` };
      const { json } = await harness.operatorCall({ path: '/audit?last=500', headers });
      return (json.rows as AuditRow[]).filter((row) => row.action === action);
    },
    metric: async (name) => {
      const { text } = await harness.operatorCall('/metrics');
      const line = text.split('\n').find((one) => one.startsWith(`${name} `));
      return line === undefined ? undefined : Number(line.slice(name.length + 1));
    },
  };
}
