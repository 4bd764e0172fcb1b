/** The whole data path for a test file: the lab that all of them share, and a Meshpass of its own on it. */
import type { Answer } from '@meshpass/cli/broker/request';
import { RELAY_ACCOUNT } from '@meshpass/identity';
import { upLab } from '@meshpass/lab';
import { type AdversarialClient, startAdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import type { StartedCodespace } from '@meshpass/lab/github/admin-client';
import { codespaceEnvironment, type MeshpassOptions, startMeshpass } from '@meshpass/lab/meshpass';
import { standIns } from '@meshpass/lab/stand-ins';
import { stopUnit } from '@meshpass/lab/unit';
import { expect } from 'vitest';
import { afterInitdb } from '../packages/broker/test/harness/store/initdb.ts';

export type DataPath = Awaited<ReturnType<typeof openDataPath>>;

/** A row of the audit log. */
export interface AuditedDecision {
  readonly seq: string;
  readonly id: string;
  readonly action: string;
  readonly outcome: 'allowed' | 'refused' | 'ended';
  readonly code: string | null;
  readonly reason: string;
  readonly subject: string | null;
  readonly login: string | null;
  readonly session_id: string | null;
  readonly workspace: string | null;
  readonly grant_name: string | null;
  readonly target: string | null;
  readonly proof_hash: string | null;
  readonly detail: string | null;
}

export const GITHUB_PROOF = 'urn:meshpass:token-type:github-codespace';
export const ID_TOKEN_PROOF = 'urn:ietf:params:oauth:token-type:id_token';
export const ORDERS = 'orders.shop.svc.cluster.local:8080';
export const LEDGER = 'ledger-db.shop.svc.cluster.local:5432';

/** @param options of `meshpass serve`; the store is always a new one */
export async function openDataPath(options: MeshpassOptions = {}) {
  const lab = await upLab({ with: ['workspace-2'] });
  const players = standIns(lab);
  await players.github.reset();
  const given = { breakGlassWithoutAnEmergency: true, prepareStore: afterInitdb, ...options };
  const meshpass = await startMeshpass(lab, given).catch(async (error) => {
    // The lab would try to repair a unit that is known not to start.
    for (const unit of ['meshpass', 'meshpass-2', 'edge']) await stopUnit(lab.dir, unit);
    throw error;
  });
  // A broker accepts no DPoP proof of the second in which it started, or older, because a restart forgets used proofs.
  await new Promise((resolve) => setTimeout(resolve, 1_010 - (Date.now() % 1_000)));
  const secrets = new Set<string>();
  const rogues: AdversarialClient[] = [];
  const auditPage = async (query: Record<string, string | number>): Promise<readonly AuditedDecision[]> => {
    const search = new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)]));
    const headers = { authorization: `Bearer ${meshpass.operatorToken}` };
    const answer = await fetch(`${meshpass.operatorUrl}/audit?${search}`, { headers });
    expect(answer.status).toBe(200);
    return ((await answer.json()) as { rows: AuditedDecision[] }).rows;
  };
  /** Remembers a secret that must appear nowhere afterwards. @returns it */
  const secret = (text: string): string => {
    // The log may cut a long secret, so its parts must not appear either.
    for (const part of [text, ...text.split('.')]) if (part.length >= 20) secrets.add(part.slice(0, 200));
    return text;
  };
  /** @param host where its agent will run, and answers the broker */
  const createCodespace = async (owner = 'alice', repository = 'acme/payments-api', host = 'workspace') => {
    const started = await players.github.createCodespace({ owner, repository, host });
    secret(started.token);
    return started;
  };

  return {
    lab,
    meshpass,
    ...players,
    secret,
    auditPage,
    /** A client on a host of the lab that holds and misuses credentials. */
    adversary: (host = 'workspace'): AdversarialClient => {
      const adversary = startAdversarialClient(lab, host, meshpass.brokerUrl);
      rogues.push(adversary);
      return adversary;
    },
    codespace: createCodespace,
    /** Environment of a new Codespace, for the commands in it. */
    environment: async (owner?: string, host?: string) =>
      codespaceEnvironment(lab, meshpass, await createCodespace(owner, undefined, host)),
    /** Every row of the audit log, or of one session. */
    audit: async (filter: { readonly session?: string } = {}): Promise<AuditedDecision[]> => {
      const rows: AuditedDecision[] = [];
      for (;;) {
        const page = await auditPage({ ...filter, after: rows.at(-1)?.seq ?? 0, limit: 1000 });
        if (page.length === 0) return rows;
        rows.push(...page);
      }
    },
    /** `NAMESPACE/NAME` of every ServiceAccount that the broker has made for a session and not deleted. */
    accounts: async (): Promise<string[]> => {
      const { items } = (await lab.kubernetes.call('GET', `/api/v1/serviceaccounts${SELECTOR}`)) as Items;
      const ofSessions = items.filter(({ metadata }) => metadata.name !== RELAY_ACCOUNT);
      return ofSessions.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`).sort();
    },
    /** Every object of ours in the cluster but ServiceAccounts: its path and version. */
    objects: async (): Promise<Record<string, string>> => {
      const found: Record<string, string> = {};
      for (const path of KINDS) {
        const { items } = (await lab.kubernetes.call('GET', path + SELECTOR)) as Items;
        for (const { metadata } of items)
          found[`${path} ${metadata.namespace ?? ''}/${metadata.name}`] = metadata.resourceVersion;
      }
      return found;
    },
    /** Stops Meshpass and removes its resources; the lab stays for other tests. */
    close: async () => {
      for (const adversary of rogues) adversary.end();
      await meshpass.stop();
      await removeOurs(lab.kubernetes);
      await lab.down();
    },
    /** Checks that no audit row and no log line contains a presented secret. */
    expectNoSecretKept: async function () {
      const kept = `${JSON.stringify(await this.audit())}\n${meshpass.log()}`;
      expect(secrets.size).toBeGreaterThan(0);
      for (const one of secrets) {
        const at = kept.indexOf(one);
        expect(
          at < 0 ? '' : kept.slice(Math.max(0, at - 300), at + 20),
          `a secret of ${one.length} characters was kept`,
        ).toBe('');
      }
    },
  };
}

/** The form of an exchange, by the proof that a Codespace has. */
export function codespaceProof({ token, name }: Pick<StartedCodespace, 'token' | 'name'>): Record<string, string> {
  return { subject_token_type: GITHUB_PROOF, subject_token: token, codespace_name: name };
}

export function idTokenProof(token: string): Record<string, string> {
  return { subject_token_type: ID_TOKEN_PROOF, subject_token: token };
}

/** Opens a session and gets everything that an honest agent would have. */
export async function enrolled(
  dataPath: DataPath,
  adversary: AdversarialClient,
  owner = 'alice',
  repository?: string,
): Promise<string> {
  const answer = await adversary.enrol(codespaceProof(await dataPath.codespace(owner, repository, adversary.host)));
  return await completed(dataPath, adversary, answer, 'payments-dev');
}

/** Certificate and identity token for a session that was opened with this answer. @returns id of the session */
export async function completed(
  dataPath: DataPath,
  adversary: AdversarialClient,
  answer: Answer,
  grant: string,
): Promise<string> {
  expect(answer.status, answer.text).toBe(200);
  expect(await adversary.certificate(grant)).toMatchObject({ status: 200 });
  expect(await adversary.token()).toMatchObject({ status: 200 });
  const { sessionToken, identityToken } = await adversary.show();
  dataPath.secret(sessionToken);
  dataPath.secret(identityToken!);
  return (answer.json as { session: { id: string } }).session.id;
}

export interface Refusal {
  readonly status: number;
  readonly error: string;
  readonly code: string;
  /** Default: session.open. */
  readonly action?: string;
}

/** Asserts status, OAuth error and code, and that just this decision is in the audit log. @returns its row */
export async function expectRefused(dataPath: DataPath, answer: Answer, refusal: Refusal): Promise<AuditedDecision> {
  const body = answer.json as Record<string, string> | undefined;
  expect({ status: answer.status, error: body?.error, code: body?.error_code }).toEqual({
    status: refusal.status,
    error: refusal.error,
    code: refusal.code,
  });
  expect(body?.error_description).toMatch(/\w{3}/);
  const rows = await dataPath.auditPage({ decision: body?.decision_id ?? 'none was named' });
  expect(rows).toHaveLength(1);
  const [row] = rows;
  expect(row).toMatchObject({
    outcome: 'refused',
    code: refusal.code,
    action: refusal.action ?? 'session.open',
  });
  expect(row!.reason).toContain(body!.error_description!.slice(0, 20));
  return row!;
}

/** Waits until a condition is true. @throws Error with the last value */
export async function until<T>(look: () => T | Promise<T>, ok: (seen: T) => boolean, seconds = 20): Promise<T> {
  const began = Date.now();
  const end = began + seconds * 1000;
  for (;;) {
    const seen = await look();
    if (ok(seen)) return seen;
    if (Date.now() > end) throw new Error(`it never came true; last seen: ${JSON.stringify(seen)?.slice(0, 2000)}`);
    // Polls a slow condition less often, because a poll may start a process.
    const pause = Math.min(500, 50 + (Date.now() - began) / 20);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

const SELECTOR = '?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dmeshpass';
const NAMESPACES = '/api/v1/namespaces';
const KINDS = [
  '/apis/networking.istio.io/v1/gateways',
  '/apis/networking.istio.io/v1/sidecars',
  '/apis/security.istio.io/v1/authorizationpolicies',
  '/apis/security.istio.io/v1/requestauthentications',
  '/apis/rbac.authorization.k8s.io/v1/rolebindings',
  NAMESPACES,
];
/** Resources in a namespace of the broker besides KINDS. */
const LEFT_IN_NAMESPACE = ['serviceaccounts', 'configmaps'];

type Kubernetes = Awaited<ReturnType<typeof upLab>>['kubernetes'];
type Items = { items: { metadata: ObjectMeta }[] };
interface ObjectMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly resourceVersion: string;
  readonly deletionTimestamp?: string;
}

export async function removeOurs(kubernetes: Kubernetes): Promise<void> {
  const list = async (path: string) => ((await kubernetes.call('GET', path + SELECTOR)) as Items).items;
  for (const path of KINDS) {
    for (const { metadata } of await list(path)) {
      const within = metadata.namespace ? `/namespaces/${metadata.namespace}` : '';
      const object = `${path.replace(/\/(\w+)$/, `${within}/$1`)}/${metadata.name}`;
      await kubernetes.call('DELETE', object);
      if (path === NAMESPACES && !metadata.deletionTimestamp) await finalizeNamespace(kubernetes, metadata.name);
    }
  }
  await until(
    () => list(NAMESPACES),
    (left) => left.length === 0,
    60,
  );
}

/**
 * Completes the deletion of a namespace of the broker. The namespace controller would wait five seconds before it begins, for the caches
 * of other API servers, and the lab has only one.
 */
async function finalizeNamespace(kubernetes: Kubernetes, name: string): Promise<void> {
  const path = `${NAMESPACES}/${name}`;
  for (const resource of LEFT_IN_NAMESPACE) await kubernetes.call('DELETE', `${path}/${resource}`);
  const finalized = { apiVersion: 'v1', kind: 'Namespace', metadata: { name }, spec: { finalizers: [] } };
  await kubernetes.call('PUT', `${path}/finalize`, finalized);
}
