/** The stand-in for GitHub of a trial: one Codespace of alice, whose environment it writes where a real one has it. No admin API. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CODESPACES_SHARED } from '@meshpass/agent/session/discover';
import { startGithub } from '../github/start.ts';
import { ACME, ALICE, issueToken, newId, type State, seed } from '../github/state.ts';
import { saveSnapshot } from '../stand-in/snapshot.ts';

export interface TrialGithub {
  /** Files, PEM: certificate of API and forwarded ports, its key, and the key of the GitHub App. */
  readonly cert: string;
  readonly key: string;
  readonly appKey: string;
}

const API_PORT = 8443;
const FORWARDING_PORT = 8444;
/** A folder that outlives the process, not its Pod. */
const STATE = '/var/lib/meshpass';
const CODESPACE = 'trial-codespace';
/** `acme/payments-api` of the stand-in's small world. */
const REPOSITORY = 7001;
/** Longer than a trial. */
const TOKEN_MS = 30 * 86_400_000;

/** Serves until the process ends. */
export async function runGithub({ cert, key, appKey }: TrialGithub): Promise<void> {
  writeFileSync(join(STATE, 'github-app.pem'), readFileSync(appKey), { mode: 0o600 });
  if (!existsSync(join(STATE, 'github.json'))) openCodespace();
  // At once: the broker must not ask this one about the Codespace of the Pod that replaces it.
  process.once('SIGTERM', () => process.exit(0));
  const tls = { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') };
  await startGithub({
    listen: `${process.env.POD_IP}:${API_PORT}`,
    forwardingListen: `${process.env.POD_IP}:${FORWARDING_PORT}`,
    tls,
    forwardingTls: tls,
    state: STATE,
    withoutAdmin: true,
  });
  console.log('INSECURE TRIAL, not for production: a stand-in for GitHub listens. It is not GitHub.');
}

function openCodespace(): void {
  const state: State = seed();
  const now = new Date().toISOString();
  const id = newId();
  const space = {
    id,
    name: CODESPACE,
    environmentId: String(id),
    ownerId: ALICE,
    billableOwnerId: ACME,
    repositoryId: REPOSITORY,
    ref: 'main',
    prebuild: false,
    createdAt: now,
    lastUsedAt: now,
    state: 'Available',
    host: 'trial',
  } as const;
  state.codespaces.push(space);
  const expiresAt = Date.now() + TOKEN_MS;
  const GITHUB_TOKEN = issueToken(state, {
    kind: 'codespace',
    userId: ALICE,
    codespaceId: id,
    repositoryOnly: true,
    expiresAt,
  });
  const environment = { CODESPACES: 'true', CODESPACE_NAME: CODESPACE, GITHUB_TOKEN };
  writeFileSync(join(CODESPACES_SHARED, 'environment-variables.json'), JSON.stringify(environment), { mode: 0o600 });
  saveSnapshot(join(STATE, 'github.json'), state);
}
