/** Starts the stand-in: state (from its snapshot if one exists), the App's key, the API and the admin API. */
import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { getRequestListener, type HttpBindings } from '@hono/node-server';
import { type Listening, listen, type TlsFiles } from '../stand-in/listen.ts';
import { loadSnapshot, saveSnapshot } from '../stand-in/snapshot.ts';
import { ADMIN_PATH, createAdmin } from './admin.ts';
import { type GithubAdmin, githubAdmin } from './admin-client.ts';
import { createBudgets } from './budget.ts';
import type { Fault } from './fault.ts';
import { type ConnectTo, createForwarding, type ForwardingFault } from './forwarding.ts';
import { createFront } from './front.ts';
import { type State, seed } from './state.ts';

export interface GithubOptions {
  /** `HOST:PORT`, port 0 for any free one. */
  readonly listen: string;
  /** Without it plain HTTP, for unit tests on loopback. */
  readonly tls?: TlsFiles;
  /** Directory for the snapshot and `github-app.pem`; without it everything is forgotten. */
  readonly state?: string;
  /** Stand-in for port forwarding: `HOST:PORT`, by default any free port of loopback, and its certificate. */
  readonly forwardingListen?: string;
  readonly forwardingTls?: TlsFiles;
  /** Directory with `HOST/ports.sock` of port-tunnel.ts for each host; without it every Codespace is on our own loopback. */
  readonly tunnels?: string;
  /** Whether the admin API is left out, so that no client can change the state. */
  readonly withoutAdmin?: boolean;
}

export interface RunningGithub extends Listening {
  readonly admin: GithubAdmin;
  /** Listener that stands in for `*.app.github.dev`. */
  readonly forwarding: Listening;
  /** PEM (PKCS #8) of the App's key, as GitHub would have given it to the App's owner. */
  readonly appPrivateKey: string;
}

export async function startGithub(options: GithubOptions): Promise<RunningGithub> {
  const file = options.state && join(options.state, 'github.json');
  const appKey = await loadAppKey(options.state);
  let state: State = (file && loadSnapshot<State>(file)) || seed();
  let fault: Fault = { mode: 'none' };
  let forwardingFault: ForwardingFault = 'none';
  let calls: string[] = [];
  let forwarded: string[] = [];
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
    appPrivateKey: appKey.export({ type: 'pkcs1', format: 'pem' }) as string,
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
    setForwardingFault: (wanted) => {
      forwardingFault = wanted;
    },
    calls: () => calls,
    spent: budgets.used,
    renewBudgets: budgets.clear,
    forwarded: () => forwarded,
    forgetCalls: () => {
      calls = [];
      forwarded = [];
    },
    reset: () => {
      state = seed();
      fault = { mode: 'none' };
      forwardingFault = 'none';
      calls = [];
      forwarded = [];
      budgets.clear();
    },
  });
  world.changed();
  const isForAdmin = ({ url }: Request) => !options.withoutAdmin && new URL(url).pathname.startsWith(`${ADMIN_PATH}/`);

  const listening = await listen(
    options.listen,
    getRequestListener((request, env) => (isForAdmin(request) ? admin : front).fetch(request, env as HttpBindings)),
    options.tls,
  );
  const forwarding = await listen(
    options.forwardingListen ?? '127.0.0.1:0',
    createForwarding({
      ...world,
      connect: options.tunnels === undefined ? onOwnLoopback : throughTunnel(options.tunnels),
      fault: () => forwardingFault,
      called: (call) => forwarded.push(call) > 10_000 && forwarded.shift(),
    }),
    options.forwardingTls,
    (socket) => {
      if (forwardingFault === 'down') socket.destroy();
    },
  );
  return {
    ...listening,
    forwarding,
    close: async () => {
      await Promise.all([listening.close(), forwarding.close()]);
    },
    admin: githubAdmin(listening.url),
    appPrivateKey: appKey.export({ type: 'pkcs8', format: 'pem' }) as string,
  };
}

const onOwnLoopback: ConnectTo = (_host, port) => connect(port, '127.0.0.1');

/** Connects by port-tunnel.ts: sends the port in a line, and then the stream of the port. Ports of our own host need no tunnel. */
function throughTunnel(directory: string): ConnectTo {
  return (host, port) => {
    if (host === OWN_HOST) return onOwnLoopback(host, port);
    const tunnel = connect(join(directory, host, TUNNEL_FILE));
    tunnel.write(`${port}\n`);
    return tunnel;
  };
}

const OWN_HOST = 'github';
/** File in the directory of a host of the lab. */
export const TUNNEL_FILE = 'ports.sock';

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
