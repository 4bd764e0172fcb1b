/** Calls between workloads of the mesh, and from outside of it: a change of an access file must not change their answers. */
import { createInterface } from 'node:readline';
import type { Lab } from '@meshpass/lab';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';

/** First message of PostgreSQL's protocol 3.0: the server answers it. */
export const STARTUP = '\0\0\0\x15\0\x03\0\0user\0ledger\0\0';

/** Issuer whose tokens workloads of the mesh present. */
export const TEAM = 'https://idp.team.test';
const keys = await generateKeyPair('RS256');
export const TEAM_JWKS = JSON.stringify({
  keys: [{ ...(await exportJWK(keys.publicKey)), kid: 'team', alg: 'RS256' }],
});
const TOKEN = await new SignJWT({ groups: ['shop'] })
  .setProtectedHeader({ alg: 'RS256', kid: 'team' })
  .setIssuer(TEAM)
  .setSubject('client')
  .setExpirationTime('2h')
  .sign(keys.privateKey);

interface Spec {
  /** Host of the lab; `github` has no sidecar. */
  readonly from: 'client' | 'web' | 'github';
  readonly method?: string;
  /** Host of the lab to dial without a name. */
  readonly at?: string;
  readonly host: string;
  readonly port: number;
  /** Absent for the database. */
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Answer in a mesh without policies. */
  readonly open: string;
}

const orders = { host: 'orders.shop', port: 8080, path: '/orders/1', open: '200' } as const;

const SPECS = {
  'client reads': { from: 'client', ...orders },
  'client refunds': { from: 'client', ...orders, method: 'POST', path: '/refunds', open: '201' },
  'client administers': { from: 'client', ...orders, path: '/admin/x' },
  'client on 9090': { from: 'client', ...orders, port: 9090, path: '/admin/x' },
  'client reads in team red': { from: 'client', ...orders, headers: { 'x-team': 'red' } },
  'client reads with a token': { from: 'client', ...orders, headers: { authorization: `Bearer ${TOKEN}` } },
  'client to web': { from: 'client', host: 'web.dev', port: 80, path: '/', open: '200' },
  'client to ledger': { from: 'client', host: 'ledger-db.shop', port: 5432, open: 'answered' },
  'web reads': { from: 'web', ...orders },
  'web refunds': { from: 'web', ...orders, method: 'POST', path: '/refunds', open: '201' },
  'web on 9090': { from: 'web', ...orders, port: 9090, path: '/admin/x' },
  'web to ledger': { from: 'web', host: 'ledger-db.shop', port: 5432, open: 'answered' },
  'plain text': { from: 'github', ...orders, at: 'orders', open: 'closed' },
  'plain text on 9090': { from: 'github', ...orders, port: 9090, at: 'orders', open: 'closed' },
  'through the ingress': {
    from: 'github',
    at: 'ingress',
    host: 'shop.example.com',
    port: 80,
    path: '/orders/1',
    open: 'closed',
  },
} satisfies Record<string, Spec>;

export type InsideCall = keyof typeof SPECS;
export type Answers = Readonly<Record<InsideCall, string>>;

const ALL = Object.entries(SPECS) as readonly [InsideCall, Spec][];
const HOSTS = [...new Set(ALL.map(([, { from }]) => from))];

/** Answers of a mesh with these differences from one without policies. */
export function answersOf(differences: Partial<Answers> = {}): Answers {
  const open = Object.fromEntries(ALL.map(([name, spec]) => [name, spec.open])) as Answers;
  return { ...open, ...differences };
}

export interface Inside {
  /** Makes the calls. @returns HTTP status, `answered`, or `closed` */
  readonly answers: () => Promise<Answers>;
  readonly close: () => void;
}

/** Starts a process on each host that calls. */
export function openInside(lab: Lab): Inside {
  const callers = HOSTS.map((host) => {
    const mine = ALL.filter(([, { from }]) => from === host);
    const input = mine.map(([, { at, ...spec }]) => ({ ...spec, address: at ? lab.hosts[at]!.ip : spec.host }));
    const child = lab.spawn(host, ['python3', '-u', '-c', SCRIPT, JSON.stringify(input)]);
    const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    const answers = async () => {
      child.stdin!.write('\n');
      const all = JSON.parse((await lines.next()).value!) as readonly string[];
      return mine.map(([name], nth) => [name, all[nth]!] as const);
    };
    return { answers, close: () => child.stdin!.end() };
  });
  return {
    answers: async () => {
      const lists = await Promise.all(callers.map((one) => one.answers()));
      return Object.fromEntries(lists.flat()) as unknown as Answers;
    },
    close: () => {
      for (const one of callers) one.close();
    },
  };
}

/** Makes the calls for each line of its input. */
const SCRIPT = `
import http.client, json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def answer(call):
    try:
        if "path" not in call:
            connection = socket.create_connection((call["address"], call["port"]), timeout=5)
            connection.sendall(bytes(${JSON.stringify([...STARTUP].map((one) => one.charCodeAt(0)))}))
            return "answered" if connection.recv(16) else "closed"
        connection = http.client.HTTPConnection(call["address"], call["port"], timeout=5)
        host = call["host"] if call["port"] == 80 else call["host"] + ":" + str(call["port"])
        headers = {"host": host, "content-length": "0"} | call.get("headers", {})
        connection.request(call.get("method", "GET"), call["path"], headers=headers)
        return str(connection.getresponse().status)
    except Exception:
        return "closed"
calls = json.loads(sys.argv[1])
with ThreadPoolExecutor(8) as pool:
    for line in sys.stdin:
        print(json.dumps(list(pool.map(answer, calls))))`;
