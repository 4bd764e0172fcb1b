/** What broker and edge show to whoever connects from outside: their names lead to them, and their certificates are believed. */
import { MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import { tlsFailure } from '@meshpass/identity/tls-failure';
import type { HostPort } from '../command/host-port.ts';
import { type Finding, failed, wrong } from '../doctor/line.ts';
import { lookAtShown, resolve } from '../doctor/network.ts';
import { expiry } from './expiry.ts';

export interface ShownOptions {
  /** Of the release. */
  readonly namespace: string;
  /** PEM of a CA that agents trust, too; absent: Node's own roots. */
  readonly ca?: string | undefined;
  /** Unix milliseconds. */
  readonly now: number;
}

const CHECK = 'certificates';
const DAY = 86_400;
/** A warning with fewer days left; of a short life, with less than a quarter left: the chart's alert has the same. */
const WARN_DAYS = 14;
const WARN_SHARE = 1 / 4;

/** @param part whose public address it is */
export async function checkShown(
  part: 'broker' | 'edge',
  { host, port }: HostPort,
  { namespace, ca, now }: ShownOptions,
): Promise<readonly Finding[]> {
  const named = await resolve(host).catch(toMeshpassError);
  if (named instanceof MeshpassError)
    return [
      failed(CHECK, named, {
        seen: `look up ${host}`,
        next: `Let the name lead to the load balancer of the Service meshpass-${part}; a new name takes its time.`,
        command: `kubectl -n ${namespace} get service meshpass-${part}; getent hosts ${host}`,
      }),
    ];
  const seen = `TLS handshake with ${host}:${port}`;
  const shown = await lookAtShown({ host, port, ca });
  if ('unreached' in shown) {
    const error = new MeshpassError(
      'agent_broker_unreachable',
      `${host}:${port} (${named.slice(0, 4).join(', ')}) cannot be reached from here: ${shown.unreached}.`,
    );
    const next = `Look whether Pods of meshpass-${part} are ready, and at load balancer and firewalls between.`;
    const command = `kubectl -n ${namespace} get deployments,pods,services -l app.kubernetes.io/component=${part}`;
    return [failed(CHECK, error, { seen, next, command })];
  }
  const { life, refused, issuer, names } = shown;
  const replace = {
    seen,
    next: `Renew it: cert-manager does that by itself (its Certificate says why not); a Secret of yours is yours to replace.`,
    command: `kubectl -n ${namespace} create secret tls meshpass-${part}-tls --cert ${part}.crt --key ${part}.key --dry-run=client -o yaml | kubectl apply -f -`,
  };
  if (refused === undefined || refused === 'CERT_HAS_EXPIRED') {
    const days = Math.min(WARN_DAYS, ((life.notAfter - life.notBefore) / DAY) * WARN_SHARE);
    return [expiry(CHECK, `The certificate of ${host}`, life.notAfter * 1000, now, { ...replace, days })];
  }
  const showing = `openssl s_client -connect ${host}:${port} -servername ${host} -showcerts </dev/null`;
  if (refused === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return [
      wrong(CHECK, `What answers as ${host} shows a certificate for ${names}.`, {
        ...{ seen, command: showing },
        next: `Put one for ${host} into the Secret meshpass-${part}-tls, or let the name lead to meshpass-${part}.`,
      }),
    ];
  const what = tlsFailure(refused)?.what ?? 'its certificate is refused';
  return [
    wrong(CHECK, `${host} is not believed: ${what} (${refused}); it was signed by ${issuer}.`, {
      ...{ seen, command: showing },
      next: 'If that is your own CA, give it here and to agents by --ca-file, and to the chart by certificates.trust.',
    }),
  ];
}
