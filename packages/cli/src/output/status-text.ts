/** What `meshpass up` and `meshpass status` print as text. */
import type { AgentStatus, ServiceStatus } from '@meshpass/agent/status';

/** @param now milliseconds since the epoch */
export function statusText(status: AgentStatus, now: number): string {
  const { session, credentials } = status;
  const lines = [
    `You are ${session.login} (${session.subject}) in ${session.workspace}.`,
    `Session ${session.id}, until ${clock(session.expiresAt)} at most.`,
    ...credentials.svids.map(
      ({ grant, spiffeId, expiresAt }) => `  ${grant}: ${spiffeId}, renewed before ${left(expiresAt, now)}`,
    ),
    status.services.length > 0 ? 'You may reach:' : 'No service is granted yet. Ask the owner of the access file.',
    ...status.services.map(serviceLine),
    `For programs that need a proxy: eval "$(meshpass env)" (proxy on ${status.proxy.host}:${status.proxy.port})`,
    ...status.untold.map(
      ({ service, at, code, message }) => `Refused at ${clock(at)}: a connection to ${service}: ${message} [${code}]`,
    ),
    ...status.notes.map((note) => `Note: ${note}`),
    ...Object.entries(status.broker.failures).map(([task, failure]) => `Not well: ${task}: ${failure}`),
  ];
  return lines.join('\n');
}

function serviceLine(service: ServiceStatus): string {
  const name = service.names.at(-1) ?? service.host;
  const where = service.protocol === 'tcp' ? `${name}:${service.port}` : `http://${name}:${service.port}`;
  const what = service.allow ? `  ${service.allow.join(', ')}` : '';
  return `  ${where}${what}${service.address ? '' : '  (through the proxy)'}`;
}

function clock(at: number): string {
  return new Date(at).toISOString().slice(11, 19);
}

function left(at: number, now: number): string {
  const seconds = Math.max(0, Math.round((at - now) / 1000));
  return seconds >= 120 ? `${Math.round(seconds / 60)} min` : `${seconds} s`;
}
