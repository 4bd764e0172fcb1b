/**
 * Checks the certificates of the broker and the edge. Inside the cluster, it checks that they have been issued; from
 * outside, it checks that they are trusted.
 */
import { MeshpassError, plainText, tlsFailure, toMeshpassError } from '@meshpass/identity';
import type { HostPort } from '../command/flag.ts';
import { type Finding, failed, misconfigured, ok, warning } from '../diagnosis/finding.ts';
import { examineTls, resolveHost } from '../diagnosis/tls.ts';
import { type CheckContext, list } from './context.ts';

interface PublicAddressOptions {
  /** The namespace of the Helm release. */
  readonly namespace: string;
  /** An additional CA that agents trust, in PEM format. Defaults to Node's built-in roots. */
  readonly ca?: string | undefined;
  /** The current time in Unix milliseconds. */
  readonly now: number;
}

const DAY = 86_400;
const DAY_MS = DAY * 1000;
/**
 * The check warns if fewer than this many days remain or, for short-lived certificates, if less than a quarter of the
 * lifetime remains. The chart's alert uses the same thresholds.
 */
const WARN_DAYS = 14;
const WARN_SHARE = 1 / 4;

/**
 * Checks that a public address resolves, accepts connections, and presents a trusted certificate.
 * @param part the component that the address belongs to
 */
export async function checkPublicAddress(
  part: 'broker' | 'edge',
  { host, port }: HostPort,
  { namespace, ca, now }: PublicAddressOptions,
): Promise<Finding> {
  const named = await resolveHost(host).catch(toMeshpassError);
  if (named instanceof MeshpassError)
    return failed(named, {
      seen: `look up ${host}`,
      next: `Point the name to the load balancer of the Service meshpass-${part}; a new DNS record can take minutes.`,
      command: `kubectl -n ${namespace} get service meshpass-${part}; getent hosts ${host}`,
    });
  const seen = `TLS handshake with ${host}:${port}`;
  const shown = await examineTls({ host, port, ca });
  if ('unreached' in shown) {
    const error = new MeshpassError(
      'agent_broker_unreachable',
      `Cannot reach ${host}:${port} (${named.slice(0, 4).join(', ')}) from here: ${shown.unreached}.`,
    );
    const next = `Check that the Pods of meshpass-${part} are ready, then check the load balancer and the firewalls.`;
    const command = `kubectl -n ${namespace} get deployments,pods,services -l app.kubernetes.io/component=${part}`;
    return failed(error, { seen, next, command });
  }
  const { life, untrusted, issuer, names } = shown;
  const replace = {
    seen,
    next: `Renew it. cert-manager renews it automatically (if not, its Certificate has the reason). Replace a Secret that you manage yourself by hand.`,
    command: `kubectl -n ${namespace} create secret tls meshpass-${part}-tls --cert ${part}.crt --key ${part}.key --dry-run=client -o yaml | kubectl apply -f -`,
  };
  if (untrusted === undefined || untrusted === 'CERT_HAS_EXPIRED') {
    const days = Math.min(WARN_DAYS, ((life.notAfter - life.notBefore) / DAY) * WARN_SHARE);
    return checkExpiry(`The certificate for ${host}`, life.notAfter * 1000, now, { ...replace, days });
  }
  const showing = `openssl s_client -connect ${host}:${port} -servername ${host} -showcerts </dev/null`;
  if (untrusted === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return misconfigured(`The server at ${host} presents a certificate for ${names}.`, {
      seen,
      command: showing,
      next: `Store a certificate for ${host} in the Secret meshpass-${part}-tls, or point the name to meshpass-${part}.`,
    });
  const what = tlsFailure(untrusted)?.what ?? 'its certificate is rejected';
  return misconfigured(
    `The certificate for ${host} is not trusted: ${what} (${untrusted}). It was signed by ${issuer}.`,
    {
      seen,
      command: showing,
      next: 'If that is your own CA, pass it here and to agents as --ca-file, and to the chart as certificates.trust.',
    },
  );
}

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly message?: string;
}

const LONGEST = 300;

/**
 * Checks the status that cert-manager reports for the chart's Certificates. These exist only if the chart values
 * specify an issuer. If an operator provides the Secrets, there are no Certificates.
 * @returns no findings if all certificates have been issued. Their lifetime is checked by checkPublicAddress()
 */
export async function checkIssuedCertificates({ http, namespace }: CheckContext): Promise<readonly Finding[]> {
  const found = await list(http, `/apis/cert-manager.io/v1/namespaces/${namespace}/certificates`);
  return found
    .filter(({ metadata }) => metadata.name === 'meshpass-broker' || metadata.name === 'meshpass-edge')
    .flatMap(({ metadata: { name }, status }) => {
      const conditions: readonly Condition[] = status?.conditions ?? [];
      const ready = conditions.find(({ type }) => type === 'Ready');
      if (ready?.status === 'True') return [];
      const why = ready
        ? plainText(String(ready.message ?? '').slice(0, LONGEST)) || 'it is not ready'
        : 'it has no status, because cert-manager is not running';
      return misconfigured(`cert-manager has not issued the certificate ${name}: ${why}.`, {
        seen: `kubectl -n ${namespace} get certificates.cert-manager.io ${name}`,
        next: 'Check the events of the Certificate and its CertificateRequest.',
        command: `kubectl -n ${namespace} describe certificates.cert-manager.io,certificaterequests.cert-manager.io`,
      });
    });
}

interface ExpiryAdvice {
  /** The check warns if fewer than this many days remain. */
  readonly days: number;
  readonly seen: string;
  readonly command: string;
  readonly next: string;
}

/**
 * Checks how soon something expires.
 * @param until the expiry time in Unix milliseconds
 * @param now the current time in Unix milliseconds
 */
export function checkExpiry(what: string, until: number, now: number, advice: ExpiryAdvice): Finding {
  const { days, ...more } = advice;
  const day = new Date(until).toISOString().slice(0, 10);
  const left = Math.floor((until - now) / DAY_MS);
  if (until <= now) return misconfigured(`${what} expired on ${day}.`, more);
  if (until - now < days * DAY_MS)
    return warning(`${what} expires in ${left === 1 ? '1 day' : `${left} days`}, on ${day}.`, more);
  return ok(`${what} is valid until ${day}.`, advice.seen);
}
