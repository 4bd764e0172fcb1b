/** Builds the status of the running agent from its parts. */
import { VERSION } from '@meshpass/identity/version';
import type { SessionChannel } from './channel/session-channel.ts';
import type { AgentConfig } from './control/config.ts';
import type { AgentStatus } from './control/status.ts';
import type { DataPlane } from './data-plane.ts';
import type { LoopbackNames } from './hosts/loopback-names.ts';
import type { WorkspaceKubernetes } from './kubernetes/workspace-kubernetes.ts';
import type { CredentialManager } from './session/credential-manager.ts';
import type { SignIns } from './sign-in/sign-ins.ts';

export interface AgentParts {
  readonly config: AgentConfig;
  readonly manager: CredentialManager;
  readonly svids: AgentStatus['credentials']['svids'];
  readonly plane: DataPlane;
  readonly channel: SessionChannel | undefined;
  readonly names: LoopbackNames | undefined;
  readonly kubernetes: WorkspaceKubernetes;
  readonly signIns: SignIns;
  /** Milliseconds from process start to readiness. */
  readonly readyAfter: number;
}

/** Returns the status of a running agent for `meshpass status`. */
export async function agentStatus(parts: AgentParts): Promise<AgentStatus> {
  const { config, manager, channel, names, signIns, readyAfter } = parts;
  const { session, identityToken, services, mesh } = manager.credentials;
  const { brokerAnsweredAt: answeredAt, failures, lease } = manager.health;
  const plane = await parts.plane.status();
  const refusal = channel?.refusal;
  const kubernetes = parts.kubernetes.status;
  return {
    pid: process.pid,
    version: VERSION,
    session: {
      id: session.id,
      subject: session.subject,
      login: session.login,
      workspace: session.workspace,
      grants: session.grants,
      expiresAt: session.expires_at * 1000,
    },
    credentials: {
      svids: parts.svids,
      identityTokenExpiresAt: identityToken.expiresAt,
    },
    services: services.map(({ grant, host, port, aliases, protocol, allow, address }) => ({
      grant,
      host,
      port,
      names: aliases,
      protocol,
      ...(allow ? { allow } : {}),
      ...(address !== undefined && names?.isNamed(address) ? { address } : {}),
    })),
    ...(kubernetes && { kubernetes }),
    signIns: signIns.status,
    broker: {
      url: config.broker,
      answeredAt,
      failures,
    },
    edge: mesh.edge,
    ...(mesh.contact !== undefined && { contact: mesh.contact }),
    lease: { ...lease, ...(refusal && { refused: refusal }) },
    ...plane,
    notes: [...plane.notes, ...(names?.notes ?? []), ...signIns.notes],
    readyAfter,
  };
}
