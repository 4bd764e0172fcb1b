/**
 * Clients of the edge as they come from the internet, byte by byte, on the whole data path. Accepted means that the workload
 * behind edge and gateway has answered the inner ClientHello: all else is a refusal of the edge.
 */
import { LEDGER, ORDERS } from '../../mesh.ts';
import type { HostileArea, HostileInput } from '../area.ts';
import { type Credential, fromIstiod, ofAnotherMesh, selfSigned, signedBy } from './certificates.ts';
import {
  connectHead,
  GRANT,
  goodbye,
  type Internet,
  ORDERS_SNI,
  ofTheEdge,
  openInternet,
  said,
  sessionNamed,
  spoken,
  svidOf,
  type Try,
} from './client.ts';
import { padded, record, records, SERVER_NAME, serverNames, withExtensions, withNames } from './client-hello.ts';

const LEDGER_SNI = 'outbound_.5432_._.ledger-db.shop.svc.cluster.local';
const MALFORMED = 'tunnel_request_malformed';
const NOT_GRANTED = 'tunnel_target_not_granted';
const UNTRUSTED = 'tunnel_certificate_untrusted';
const UNKNOWN = 'tunnel_session_unknown';
/** RFC 8446 section 6.2. */
const DECODE_ERROR = 'alert 50';
const UNRECOGNIZED_NAME = 'alert 112';

export const edge: HostileArea<Internet> = {
  name: 'edge: clients from the internet',
  open: () => openInternet(),
  close: async ({ client, dataPath }) => {
    client.kill();
    await dataPath.close();
  },
  inputs: [...certificates(), ...outerTls(), ...requests(), ...targets(), ...serverNamesInside(), ...innerBytes()],
};

function certificates(): HostileInput<Internet>[] {
  const held = (fault: string, code: string, credential: (internet: Internet) => Promise<Credential | null>) =>
    against(fault, code, async (internet) => ({ credential: await credential(internet) }));
  let short: Credential;
  let expires = 0;
  return [
    held('no certificate', 'tunnel_certificate_missing', async () => null),
    held('a certificate that its holder made', UNTRUSTED, ({ spiffeId }) => selfSigned(spiffeId)),
    held('a certificate of another mesh', UNTRUSTED, ({ spiffeId }) => ofAnotherMesh(spiffeId)),
    held("the edge's own certificate", UNTRUSTED, async ({ dataPath }) => ofTheEdge(dataPath)),
    held('a certificate that an SVID has signed', UNTRUSTED, async ({ adversary, spiffeId }) =>
      signedBy((await adversary.show()).svids[GRANT]!, spiffeId),
    ),
    held('a workload of the mesh that is no session', UNKNOWN, async ({ workload }) => workload),
    {
      fault: 'an SVID that has expired',
      code: UNTRUSTED,
      control: async (internet) => {
        short = await fromIstiod(internet.dataPath, internet.spiffeId, 8);
        expires = Date.now() + 8_000;
        return said(internet, { credential: short });
      },
      attack: async (internet) => {
        while (Date.now() <= expires + 1_000) await new Promise((resolve) => setTimeout(resolve, 100));
        return said(internet, { credential: short });
      },
    },
    {
      fault: 'the SVID of a session that has ended',
      code: UNKNOWN,
      control: async (internet) => said(internet, { credential: await sessionNamed(internet, 'ended') }),
      attack: async (internet) => {
        await goodbye(internet, 'ended');
        return said(internet, { credential: await svidOf(internet.adversary.as('ended')) });
      },
    },
    {
      fault: 'a TLS ticket of a session that has ended',
      code: UNKNOWN,
      control: async (internet) => {
        const credential = await sessionNamed(internet, 'resumed');
        const { ticket } = await spoken(internet, { credential });
        return ticket ? said(internet, { credential, ticket }) : { accepted: false, answer: 'the edge gave no ticket' };
      },
      attack: async (internet) => {
        // The first ticket was that of the control; a ticket to be reused comes from a connection of its own.
        const credential = await sessionNamed(internet, 'resumed');
        const { ticket } = await spoken(internet, { credential });
        await goodbye(internet, 'resumed');
        return said(internet, { credential: null, ...(ticket && { ticket }) });
      },
    },
    {
      fault: 'a service of another grant',
      code: NOT_GRANTED,
      control: (internet) => said(internet, { target: LEDGER, credential: internet.alice }),
      attack: (internet) => said(internet, { target: LEDGER, credential: internet.bob }),
    },
  ];
}

function outerTls(): HostileInput<Internet>[] {
  const plain = (fault: string, head: string) => against(fault, '', async () => ({ plain: true, head }));
  return [
    against('TLS 1.2', 'TLS', async () => ({ version: 'TLSv1.2' as const })),
    against('ALPN h2 alone', 'TLS', async () => ({ alpn: ['h2'] })),
    against('ALPN of the inner connection', 'TLS', async () => ({ alpn: ['istio-http/1.1', 'istio'] })),
    plain('no TLS, but CONNECT', connectHead(ORDERS)),
    plain('no TLS, but SSLv2', '\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80\x02\x00\x80'),
    plain('a record of 64 KiB', `\x16\x03\x01\xff\xff${'\x01'.repeat(65_535)}`),
    plain('an alert first', '\x15\x03\x03\x00\x02\x02\x28'),
  ];
}

function requests(): HostileInput<Internet>[] {
  const head = (fault: string, text: string) => against(fault, MALFORMED, async () => ({ head: text }));
  const fields = (fault: string, lines: string) =>
    head(fault, `CONNECT ${ORDERS} HTTP/1.1\r\nHost: ${ORDERS}\r\n${lines}\r\n`);
  const line = (fault: string, requestLine: string) => head(fault, `${requestLine}\r\nHost: ${ORDERS}\r\n\r\n`);
  return [
    line('the method GET', `GET ${ORDERS} HTTP/1.1`),
    line('an absolute form', 'GET http://orders.shop:8080/ HTTP/1.1'),
    line('CONNECT to an absolute form', `CONNECT http://${ORDERS}/ HTTP/1.1`),
    line('a method in small letters', `connect ${ORDERS} HTTP/1.1`),
    line('HTTP/1.0', `CONNECT ${ORDERS} HTTP/1.0`),
    line('HTTP/1.2', `CONNECT ${ORDERS} HTTP/1.2`),
    line('no version', `CONNECT ${ORDERS}`),
    line('two spaces in the request line', `CONNECT  ${ORDERS} HTTP/1.1`),
    line('a tab in the request line', `CONNECT\t${ORDERS} HTTP/1.1`),
    line('a space behind the request line', `CONNECT ${ORDERS} HTTP/1.1 `),
    line('a NUL in the target', `CONNECT ${ORDERS}\0 HTTP/1.1`),
    line('a name and password before the target', `CONNECT alice:x@${ORDERS} HTTP/1.1`),
    line('a path behind the target', `CONNECT ${ORDERS}/ HTTP/1.1`),
    line('a target in capitals', `CONNECT ${ORDERS.toUpperCase()} HTTP/1.1`),
    line('a port with a zero before it', 'CONNECT orders.shop.svc.cluster.local:08080 HTTP/1.1'),
    line('a port that wraps around', 'CONNECT orders.shop.svc.cluster.local:73616 HTTP/1.1'),
    line('a percent sign in the host', 'CONNECT orders%2eshop.svc.cluster.local:8080 HTTP/1.1'),
    head('a blank line first', `\r\n${connectHead(ORDERS)}`),
    head('no Host', `CONNECT ${ORDERS} HTTP/1.1\r\n\r\n`),
    head('another Host', `CONNECT ${ORDERS} HTTP/1.1\r\nHost: ${LEDGER}\r\n\r\n`),
    fields('two Host headers', `Host: ${LEDGER}\r\n`),
    fields('the same Host twice', `host: ${ORDERS}\r\n`),
    fields('Content-Length', 'Content-Length: 5\r\n'),
    fields('Content-Length 0', 'Content-Length: 0\r\n'),
    fields('Transfer-Encoding', 'Transfer-Encoding: chunked\r\n'),
    fields('both lengths', 'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n'),
    fields('a space before the colon', 'Transfer-Encoding : chunked\r\n'),
    fields('a folded line', 'X-A: 1\r\n folded\r\n'),
    fields('a NUL in a header', 'X-A: 1\0\r\n'),
    fields('a byte beyond ASCII in a header', 'X-A: \xe9\r\n'),
    fields('a header without a name', ': 1\r\n'),
    fields('a header without a colon', 'X-A\r\n'),
    fields('headers of 8 KiB', `X-A: ${'x'.repeat(8_192)}\r\n`),
    head('line feeds alone', `CONNECT ${ORDERS} HTTP/1.1\nHost: ${ORDERS}\n\n${'x'.repeat(4_096)}`),
    fields('a carriage return alone', `X-A: 1\rHost: ${LEDGER}\r\n`),
    // The edge reads bytes after CONNECT as the inner ClientHello, and they are none: a TLS alert, decode_error.
    against('a second CONNECT behind the first', 'alert 50', async () => ({
      head: connectHead(ORDERS) + connectHead(LEDGER),
    })),
    against('bytes before the answer that are no ClientHello', 'alert 50', async () => ({
      head: `${connectHead(ORDERS)}EARLY`,
    })),
    head('the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  ];
}

function targets(): HostileInput<Internet>[] {
  const to = (fault: string, target: string) => against(fault, NOT_GRANTED, async () => ({ target }));
  return [
    to('a service that no grant names', 'web.dev.svc.cluster.local:80'),
    to('a port that is not granted', 'orders.shop.svc.cluster.local:9090'),
    to('the control plane', 'istiod.istio-system.svc.cluster.local:15012'),
    to('the API server', 'kubernetes.default.svc.cluster.local:443'),
    to('an address', '10.96.1.10:8080'),
    to('the metadata service', '169.254.169.254:80'),
    to("the edge's own machine", 'localhost:9090'),
    to('a short name', 'orders.shop:8080'),
    to('a granted name with a final dot', 'orders.shop.svc.cluster.local.evil.com:8080'),
  ];
}

function serverNamesInside(): HostileInput<Internet>[] {
  const named = (fault: string, ...names: readonly (readonly [number, string])[]) =>
    against(fault, 'alert', async ({ hello }) => ({ inner: withNames(hello, ...names) }));
  return [
    named('the server name of another granted service', [0, LEDGER_SNI]),
    named('the server name of a service that is not granted', [0, 'outbound_.80_._.web.dev.svc.cluster.local']),
    named('the server name with another port', [0, 'outbound_.9090_._.orders.shop.svc.cluster.local']),
    named('the server name with a subset', [0, 'outbound_.8080_v1_.orders.shop.svc.cluster.local']),
    named('the plain name of the service', [0, 'orders.shop.svc.cluster.local']),
    named('the server name in capitals', [0, ORDERS_SNI.toUpperCase()]),
    named('the server name with a final dot', [0, `${ORDERS_SNI}.`]),
    named('the server name with a NUL behind it', [0, `${ORDERS_SNI}\0`]),
    named('the server name with a space before it', [0, ` ${ORDERS_SNI}`]),
    named('two server names', [0, ORDERS_SNI], [0, LEDGER_SNI]),
    named('a server name of an unknown kind', [1, ORDERS_SNI]),
    named('an empty server name', [0, '']),
    named('an empty list of server names'),
    inside('no server name', UNRECOGNIZED_NAME, (hello) =>
      withExtensions(hello, (extensions) => extensions.filter(([type]) => type !== SERVER_NAME)),
    ),
    inside('the server name extension twice', DECODE_ERROR, (hello) =>
      withExtensions(hello, (extensions) => [...extensions, [SERVER_NAME, serverNames([[0, LEDGER_SNI]])]]),
    ),
  ];
}

function innerBytes(): HostileInput<Internet>[] {
  return [
    inside('plaintext', DECODE_ERROR, () => Buffer.from(`GET / HTTP/1.1\r\nHost: orders.shop\r\n\r\n`)),
    inside('a second CONNECT in the tunnel', DECODE_ERROR, () => Buffer.from(connectHead(LEDGER))),
    inside('a ClientHello of SSLv2', DECODE_ERROR, () => Buffer.from('802e010002001500000010010080020080', 'hex')),
    inside('application data', DECODE_ERROR, (hello) => record(hello.subarray(5), 23)),
    inside('an alert', DECODE_ERROR, () => record(Buffer.from([2, 40]), 21)),
    inside('a ServerHello', DECODE_ERROR, (hello) => record(Buffer.concat([Buffer.from([2]), hello.subarray(6)]))),
    inside('an unknown version of records', DECODE_ERROR, (hello) => record(hello.subarray(5), 22, 0x0505)),
    inside('an empty record first', DECODE_ERROR, (hello) => Buffer.concat([record(Buffer.alloc(0)), hello])),
    inside('bytes behind the ClientHello in its record', DECODE_ERROR, (hello) =>
      record(Buffer.concat([hello.subarray(5), Buffer.from('more')])),
    ),
    {
      ...inside('a ClientHello larger than 16 KiB', DECODE_ERROR, (hello) => padded(hello, 20_000)),
      control: (internet) => said(internet, { inner: padded(internet.hello, 2_000) }),
    },
    {
      ...inside('an alert between two records of the ClientHello', DECODE_ERROR, (hello) => {
        const pieces = records(hello, 100);
        return Buffer.concat([pieces.subarray(0, 105), record(Buffer.from([1, 0]), 21), pieces.subarray(105)]);
      }),
      control: (internet) => said(internet, { inner: records(internet.hello, 100) }),
    },
    inside('half a ClientHello', 'closed', (hello) => hello.subarray(0, hello.length >> 1)),
    inside('one byte of a ClientHello', 'closed', (hello) => hello.subarray(0, 1)),
  ];
}

/** Hostile input whose control is the same connection without the fault. */
function against(fault: string, code: string, wrong: (internet: Internet) => Promise<Try>): HostileInput<Internet> {
  return {
    fault,
    ...(code !== '' && { code }),
    attack: async (internet) => said(internet, await wrong(internet)),
    control: (internet) => said(internet, {}),
  };
}

function inside(fault: string, code: string, spoil: (hello: Buffer) => Buffer): HostileInput<Internet> {
  return against(fault, code, async ({ hello }) => ({ inner: spoil(hello) }));
}
