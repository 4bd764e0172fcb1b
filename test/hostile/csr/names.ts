/** Requests that ask for more than an identity of the session's own. They may be signed; what they ask for must not stand in it. */
import { generateKeyPairSync, type X509Certificate } from 'node:crypto';
import type { HostileInput } from '../area.ts';
import {
  type CsrParts,
  challenge,
  csr,
  dns,
  email,
  extension,
  extensionRequest,
  ip,
  name,
  OID,
  pem,
  sequence,
  tlv,
  uri,
} from './der.ts';
import { askFor, type CsrWorld } from './world.ts';

const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const OWN = 'spiffe://cluster.local/ns/meshpass-payments-dev/sa/alice-';

/** The control: the same question of the honest request, asked for what it has. */
const input = (
  fault: string,
  more: Omit<CsrParts, 'keys'>,
  says: (certificate: X509Certificate) => boolean,
): HostileInput<CsrWorld> => ({
  fault,
  attack: (world) => askFor(world, pem(csr({ keys, ...more })), says),
  control: (world) => askFor(world, pem(csr({ keys })), ({ subjectAltName }) => subjectAltName?.includes(OWN) ?? false),
});

const san = (...names: readonly Buffer[]) => ({
  attributes: [extensionRequest(extension(OID.subjectAltName, sequence(...names)))],
});
const names = (text: string) => (certificate: X509Certificate) =>
  `${certificate.subject} ${certificate.subjectAltName}`.includes(text);
const holds = (bytes: Buffer) => (certificate: X509Certificate) => certificate.raw.includes(bytes);
const asks = (oid: Buffer, value: Buffer) => ({ attributes: [extensionRequest(extension(oid, value))] });

const CA = sequence(tlv(0x01, Buffer.of(0xff)));
/** keyCertSign and cRLSign (RFC 5280, section 4.2.1.3). */
const SIGNS = Buffer.from('03020106', 'hex');

export const NAMES: readonly HostileInput<CsrWorld>[] = [
  input('the SPIFFE id of a workload', san(uri('spiffe://cluster.local/ns/shop/sa/orders')), names('orders')),
  input('the SPIFFE id of istiod', san(uri('spiffe://cluster.local/ns/istio-system/sa/istiod')), names('istiod')),
  input('the SPIFFE id of another grant', san(uri('spiffe://cluster.local/ns/meshpass-sre-bulk/sa/bob')), names('bob')),
  input(
    'its own SPIFFE id and a second one',
    san(uri(`${OWN}1`), uri('spiffe://cluster.local/ns/shop/sa/client')),
    names('client'),
  ),
  input('a SPIFFE id of another trust domain', san(uri('spiffe://evil.example/ns/a/sa/b')), names('evil')),
  input('the DNS name of istiod', san(dns('istiod.istio-system.svc')), names('istiod')),
  input('a wildcard DNS name', san(dns('*.shop.svc.cluster.local')), names('*')),
  input('the address of the API server', san(ip(10, 96, 0, 1)), names('10.96.0.1')),
  input('an e-mail address', san(email('root@acme.com')), names('root@')),
  input('a name with a NUL in it', san(dns('orders.shop\0.evil.example')), names('orders')),
  input('no name at all', { attributes: [extensionRequest()] }, ({ subjectAltName }) => subjectAltName === undefined),
  input('the common name of an administrator', { subject: name([OID.commonName, 'admin']) }, names('admin')),
  input(
    'the group of administrators of Kubernetes',
    { subject: name([OID.organization, 'system:masters']) },
    names('masters'),
  ),
  input('to be a CA', asks(OID.basicConstraints, CA), ({ ca }) => ca),
  input('to sign certificates', asks(OID.keyUsage, SIGNS), holds(SIGNS)),
  input('to sign code', asks(OID.extendedKeyUsage, sequence(OID.codeSigning)), holds(OID.codeSigning)),
  input('a challenge password', { attributes: [challenge('let me in')] }, holds(Buffer.from('let me in'))),
  input(
    'an extension of its own',
    asks(Buffer.from('06042a030405', 'hex'), Buffer.from('let me in')),
    holds(Buffer.from('let me in')),
  ),
];
