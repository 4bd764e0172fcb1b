/** Starts the stand-in: state (from its snapshot where there is one), the App's key, the API and the admin API. */
import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { getRequestListener, type HttpBindings } from '@hono/node-server';
import { type Listening, listen, type TlsFiles } from '../stand-in/listen.ts';
import { loadSnapshot, saveSnapshot } from '../stand-in/snapshot.ts';
import { ADMIN_PATH, createAdmin } from './admin.ts';
import { type GithubAdmin, githubAdmin } from './admin-client.ts';
import { createBudgets } from './budget.ts';
import type { Fault } from './fault.ts';
import { createFront } from './front.ts';
import { type State, seed } from './state.ts';

export interface GithubOptions {
  /** `HOST:PORT`, port 0 for any free one. */
  readonly listen: string;
  /** Without it plain HTTP, for unit tests on loopback. */
  readonly tls?: TlsFiles;
  /** Directory for the snapshot and `github-app.pem`; without it everything is forgotten. */
  readonly state?: string;
}

export interface RunningGithub extends Listening {
  readonly admin: GithubAdmin;
  /** PEM (PKCS #8) of the App's key, as GitHub would have given it to the App's owner. */
  readonly appPrivateKey: string;
}

export async function startGithub(options: GithubOptions): Promise<RunningGithub> {
  const file = options.state && join(options.state, 'github.json');
  const appKey = await loadAppKey(options.state);
  let state: State = (file && loadSnapshot<State>(file)) || seed();
  let fault: Fault = { mode: 'none' };
  let calls: string[] = [];
  const budgets = createBudgets();
  const world = {
    state: () => state,
    now: Date.now,
    changed: () => {
      if (file) saveSnapshot(file, state);
    },
  };
  const front = createFront({
    ...world,
    budgets,
    appKey: createPublicKey(appKey),
    fault: () => fault,
    called: (call) => calls.push(call) > 10_000 && calls.shift(),
  });
  const admin = createAdmin({
    ...world,
    setFault: (wanted) => {
      fault = wanted;
    },
    calls: () => calls,
    forgetCalls: () => {
      calls = [];
    },
    reset: () => {
      state = seed();
      fault = { mode: 'none' };
      calls = [];
      budgets.clear();
    },
  });
  world.changed();

  const listening = await listen(
    options.listen,
    getRequestListener((request, env) =>
      (new URL(request.url).pathname.startsWith(`${ADMIN_PATH}/`) ? admin : front).fetch(request, env as HttpBindings),
    ),
    options.tls,
  );
  return {
    ...listening,
    admin: githubAdmin(listening.url),
    appPrivateKey: appKey.export({ type: 'pkcs8', format: 'pem' }) as string,
  };
}

async function loadAppKey(directory: string | undefined): Promise<KeyObject> {
  const file = directory && join(directory, 'github-app.pem');
  if (file && existsSync(file)) return createPrivateKey(readFileSync(file, 'utf8'));
  const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 });
  if (file) {
    mkdirSync(directory, { recursive: true });
    writeFileSync(file, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  }
  return privateKey;
}
