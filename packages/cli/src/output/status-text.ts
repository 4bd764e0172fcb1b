/** Formats the text output of `meshpass up` and `meshpass status`. */
import type { AgentStatus, ServiceStatus } from '@meshpass/agent/control/status';
import { formatSignIn } from '../agent/requests.ts';

/** Descriptions of why a live session has gained a grant, keyed by the reason reported by the broker. */
const GAINED: Readonly<Record<string, string>> = {
  window_opened: 'its time window opened',
  access_widened: 'the access file grants it now',
  approved: 'it was approved',
  emergency: 'granted in an emergency',
  signed_in: 'you signed in',
};

const STILL_DRAINING_MS = 10_000;

/**
 * Formats the status of the agent.
 * @param now the current time in Unix milliseconds
 */
export function formatStatus(status: AgentStatus, now: number): string {
  const { session, credentials } = status;
  const lines = [
    `You are ${session.login} (${session.subject}) in ${session.workspace}.`,
    `Session ${session.id}, until ${clock(session.expiresAt)} at the latest.`,
    ...credentials.svids.map(
      ({ grant, spiffeId, expiresAt, heldUntil, gained }) =>
        `  ${grant}: ${spiffeId}, expires in ${left(expiresAt, now)} and is renewed before then` +
        (heldUntil === undefined || heldUntil === session.expiresAt ? '' : `, granted until ${clock(heldUntil)}`) +
        (gained === undefined ? '' : ` (${GAINED[gained] ?? gained})`),
    ),
    ...status.signIns.map(formatSignIn),
    status.services.length > 0
      ? 'You can reach:'
      : `No service is granted yet. Ask ${status.contact ?? 'the owner of the access file'}.`,
    ...serviceLines(status.services),
    ...(status.contact !== undefined && status.services.length > 0 ? [`For more access, ask ${status.contact}.`] : []),
    ...kubernetesLines(status),
    `For programs that need a proxy: eval "$(meshpass env)" (proxy on ${status.proxy.host}:${status.proxy.port})`,
    envoyLine(status),
    leaseLine(status),
    ...drainingLines(status, now),
    ...status.refusals.map((refusal) => refusalLine(refusal)),
    ...status.configuration.refused.slice(0, 5).map((reason) => `Unused part of the broker's configuration: ${reason}`),
    ...status.configuration.rejected.map((reason) => `Envoy rejects: ${reason}`),
    ...leftOutLines(status),
    ...status.notes.map((note) => `Note: ${note}`),
    ...Object.entries(status.broker.failures).map(([task, failure]) => `Failing: ${task}: ${failure}`),
  ];
  return lines.join('\n');
}

function kubernetesLines({ kubernetes }: AgentStatus): string[] {
  if (!kubernetes) return [];
  return [
    `For kubectl: export KUBECONFIG='${kubernetes.kubeconfig}' (meshpass env also does this)`,
    ...kubernetes.contexts.map(({ name, namespaces }) => {
      const more = namespaces.length > 5 ? ` and ${namespaces.length - 5} more` : '';
      return `  context ${name}: ${namespaces.slice(0, 5).join(', ')}${more}`;
    }),
  ];
}

function envoyLine({ envoy, configuration }: AgentStatus): string {
  const open = envoy.clusters
    .filter(({ name }) => name.startsWith('edge/'))
    .reduce((sum, { active }) => sum + active, 0);
  const version =
    configuration.version === undefined ? 'no configuration yet' : `configuration ${configuration.version}`;
  const restarts = envoy.restarts === 0 ? '' : `, restarted ${envoy.restarts} times (${envoy.lastEnd})`;
  return `Envoy ${envoy.version}, ${version}, ${counted(envoy.listeners.length, 'listener')}, ${counted(open, 'connection')} to the edge${restarts}`;
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

function leaseLine({ lease: { by, since, refused } }: AgentStatus): string {
  const way = by === 'channel' ? "through an edge's control channel" : 'over HTTPS with the broker';
  const hint = refused === undefined ? '' : `; an edge refused it at ${clock(refused.at)} [${refused.code}]`;
  return `Lease renewed ${way} since ${clock(since)}${hint}`;
}

/** Warns about a draining edge, which repeats its announcement every two seconds until it stops. */
function drainingLines({ draining }: AgentStatus, now: number): string[] {
  if (draining === undefined || now - draining.at > STILL_DRAINING_MS) return [];
  return ['An edge is shutting down: new requests use another edge, and requests in progress may be cut off.'];
}

function refusalLine({
  at,
  hop,
  what,
  status,
  code,
  reason,
  decision,
  request,
  count,
}: AgentStatus['refusals'][number]): string {
  const by = { workspace: 'here', edge: 'by the edge', mesh: 'in the mesh', workload: 'by the service' }[hop];
  const times = count === 1 ? '' : ` (${count} times)`;
  const which = [status, code].filter((one) => one !== undefined).join(' ');
  return (
    `Refused ${by} at ${clock(at)}: ${what}: ${reason}${which && ` [${which}]`}` +
    `${decision === undefined ? '' : `, decision ${decision}`}${request === undefined ? '' : `, request ${request}`}${times}`
  );
}

/** Summarizes the other teams' filters that the broker leaves out, grouped by kind. */
function leftOutLines({ configuration }: AgentStatus): string[] {
  const kinds = Map.groupBy(configuration.leftOut, ({ what }) => what);
  return [...kinds].map(([what, all]) => {
    const sum = all.reduce((total, { count }) => total + count, 0);
    return `Omitted by the broker: ${what}${sum === 1 ? '' : ` (${sum} times)`}`;
  });
}

/** Formats one line per port, even if more than one grant contains the port. */
function serviceLines(services: readonly ServiceStatus[]): string[] {
  const ports = Map.groupBy(services, ({ host, port }) => `${host}:${port}`);
  return [...ports.values()].map((held) => serviceLine(held[0]!, held));
}

function serviceLine(service: ServiceStatus, held: readonly ServiceStatus[]): string {
  const name = service.names.at(-1) ?? service.host;
  const where = service.protocol === 'tcp' ? `${name}:${service.port}` : `http://${name}:${service.port}`;
  const allowed =
    held.length === 1
      ? service.allow?.join(', ')
      : held.map(({ grant, allow = ['everything'] }) => `${allow.join(', ')} (grant ${grant})`).join('; ');
  return `  ${where}${allowed ? `  ${allowed}` : ''}${service.address ? '' : '  (through the proxy)'}`;
}

function clock(at: number): string {
  return `${new Date(at).toISOString().slice(11, 19)} UTC`;
}

function left(at: number, now: number): string {
  const seconds = Math.max(0, Math.round((at - now) / 1000));
  return seconds >= 120 ? `${Math.round(seconds / 60)} min` : `${seconds} s`;
}
