/**
 * Creates the findings of a plan for ports that do not have a standard sidecar. In ambient mode, grants do not work.
 * Everywhere else, it is unknown whether they work.
 */
import { grantNamespace } from '@meshpass/identity';
import { selects } from '@meshpass/istio';
import { type Endpoint, formatWhere } from '../diff/endpoint.ts';
import { AMBIENT_NOT_GRANTABLE } from '../evaluate/grantable.ts';
import { type AnalysisContext, type GrantedPort, serviceOf } from './context.ts';
import type { Finding } from './finding.ts';

/** The prefix of notes about ports for which there is no proof. */
export const UNPROVEN_NOTE_PREFIX = 'nothing is proven about';

/**
 * For granted ports, creates one finding per grant and reason, which prevents the change. For all other ports, creates
 * one note per reason. There, the policies of a plan only affect grant holders, who have no access to these ports.
 */
export function findUnknownEndpoints({
  unknown,
  ports,
  gateway,
}: Pick<AnalysisContext, 'unknown' | 'ports' | 'gateway'>): readonly Finding[] {
  const byService = Map.groupBy(ports, ({ target }) => serviceOf(target));
  const findings = new Map<string, Finding>();
  const others = new Map<string, Endpoint[]>();
  for (const { endpoint, reason } of unknown) {
    const granted = endpoint.services.flatMap((service) => byService.get(service) ?? []);
    for (const port of granted) {
      const finding = unknownGrantFinding(port, reason);
      findings.set(`${finding.message} ${finding.because}`, finding);
    }
    const { namespace, labels } = endpoint.workload;
    const isOurs = namespace === gateway.namespace && selects(gateway.labels, labels);
    if (isOurs || granted.length > 0 || endpoint.services.length === 0) continue;
    others.set(reason, [...(others.get(reason) ?? []), endpoint]);
  }
  return [...findings.values(), ...[...others].map(([reason, where]) => ofOthers(where, reason))];
}

/**
 * Creates the finding for a cluster that was not read completely. A policy that was not read could open or close any
 * port.
 */
export function unreadClusterFinding(reason: string): Finding {
  return {
    kind: 'not-known',
    message: 'it is not known what this change means',
    example: 'any call',
    because: reason,
  };
}

/** Creates the finding for a granted port whose decisions are unknown. */
export function unknownGrantFinding({ grant: { grant }, target }: GrantedPort, reason: string): Finding {
  const { place, allow } = target.target;
  const [first] = allow ?? [];
  const call = target.port.protocol === 'tcp' ? 'a connection' : first ? `${first.method} ${first.path}` : 'any call';
  const isKnown = reason === AMBIENT_NOT_GRANTABLE;
  return {
    kind: isKnown ? 'grant-does-not-work' : 'not-known',
    grant: grant.name,
    message: isKnown
      ? `grant ${grant.name} does not work on ${serviceOf(target)}`
      : `it is not known whether grant ${grant.name} works on ${serviceOf(target)}, or who else reaches it`,
    example: `${grantNamespace(grant.name)}/any account: ${call}`,
    because: `${reason}; granted at ${place.file}:${place.line}`,
  };
}

function ofOthers(where: readonly Endpoint[], reason: string): Finding {
  return {
    kind: 'note',
    message: `${UNPROVEN_NOTE_PREFIX} ${formatWhere(where)}`,
    example: formatWhere(where.slice(0, 1)),
    because: reason,
  };
}
