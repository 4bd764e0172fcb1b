/** Workspace of bench/return/agents.ts: a running agent without its Envoy. */
import { readFileSync } from 'node:fs';
import { createSecureContext, type SecureContext } from 'node:tls';
import { RefusalReport } from '@meshpass/agent/access-log/report';
import { SessionChannel } from '@meshpass/agent/channel/session-channel';
import { BrokerAgent } from '@meshpass/agent/session/broker-agent';
import { BrokerClient } from '@meshpass/agent/session/broker-client';
import { CredentialManager } from '@meshpass/agent/session/credential-manager';
import { generateDpopKey } from '@meshpass/agent/session/enrol';
import type { Proof } from '@meshpass/identity';

export interface Joining {
  readonly broker: string;
  readonly caFile: string;
  readonly proof: Proof;
  /** Local address of its connections to the broker. */
  readonly from?: string | undefined;
  /** Told of each failed task, with its code. */
  readonly failed: (what: string) => void;
}

export interface Renewal {
  /** Unix ms. */
  readonly at: number;
  /** Remaining life of the previous certificate, ms. */
  readonly left: number;
}

export interface Workspace {
  session(): string;
  /** Unix ms at which its first SVID expires. */
  expiresAt(): number;
  /** Resets the counters. */
  begin(): void;
  /** When its lease was last renewed since `begin`, Unix ms. */
  leasedAt(): number | undefined;
  /** Whether that was by the control channel. */
  hasChannel(): boolean;
  /** Since `begin`. */
  renewals(): readonly Renewal[];
  /** Whether the broker refused its session as ended. */
  isOver(): boolean;
  leave(): Promise<void>;
}

interface Trust {
  readonly ca: string;
  readonly secureContext: SecureContext;
}
/** Shared TLS context: creating one per connection costs a quarter of a millisecond and some 30 KB. */
const trusts = new Map<string, Trust>();

/** @throws MeshpassError if no session opens */
export async function joinMesh({ broker, caFile, proof, from, failed }: Joining): Promise<Workspace> {
  const { ca, secureContext } = trustOf(caFile);
  const agent = new BrokerAgent();
  Object.assign(agent.options, { secureContext, ...(from !== undefined && { localAddress: from }) });
  const key = generateDpopKey();
  let leased: { readonly at: number; readonly by: 'https' | 'channel' } | undefined;
  let renewals: Renewal[] = [];
  let isOver = false;
  const client = new BrokerClient({ url: broker, agent, key, now: Date.now });
  const log = (event: string, detail?: Readonly<Record<string, unknown>>) => {
    if (event === 'renewal_failed') failed(`${detail?.task}: ${detail?.code}`);
    if (event === 'configuration_failed') failed(`configuration: ${detail?.code}`);
    if (event === 'channel_silent') failed('channel: silent');
    if (event === 'session_ended' || detail?.code === 'session_closed' || detail?.code === 'session_unknown')
      isOver = true;
  };
  const expiresAt = () => Math.min(...[...manager.credentials.svids.values()].map((svid) => svid.expiresAt));
  let expiry = 0;
  const manager: CredentialManager = new CredentialManager({
    client,
    now: Date.now,
    random: Math.random,
    report: new RefusalReport(),
    log,
    source: { kind: 'codespace', proof: async () => proof },
    renewLease: () => channel.renewOverHttps(),
    fetchConfiguration: () => channel.fetchConfiguration(),
    onBrokerAnswer: () => channel.brokerAnswered(),
    onChange: (what) => {
      if (what === 'svids' && expiresAt() !== expiry) renewals.push({ at: Date.now(), left: expiry - Date.now() });
      expiry = expiresAt();
      if (what === 'session') channel.begin();
      else channel.follow();
    },
  });
  const channel: SessionChannel = new SessionChannel({
    client,
    key,
    now: Date.now,
    random: Math.random,
    log,
    edgeRoots: ca,
    manager: {
      get credentials() {
        return manager.credentials;
      },
      leaseRenewed: (id, lease, by) => {
        leased = { at: Date.now(), by };
        manager.leaseRenewed(id, lease, by);
      },
      channelSilent: (id) => manager.channelSilent(id),
      sessionEnded: (id, ended) => manager.sessionEnded(id, ended),
      askForKeys: (id) => manager.askForKeys(id),
      askForConfiguration: () => manager.askForConfiguration(),
    },
    configured: () => {},
    tunnelsDraining: () => {},
  });
  await manager.start();
  return {
    session: () => manager.credentials.session.id,
    expiresAt,
    begin: () => {
      leased = undefined;
      renewals = [];
      isOver = false;
    },
    leasedAt: () => leased?.at,
    hasChannel: () => leased?.by === 'channel',
    renewals: () => renewals,
    isOver: () => isOver,
    leave: async () => {
      await channel.close();
      await manager.close();
    },
  };
}

function trustOf(caFile: string): Trust {
  const known = trusts.get(caFile);
  if (known) return known;
  const ca = readFileSync(caFile, 'utf8');
  const trust = { ca, secureContext: createSecureContext({ ca }) };
  trusts.set(caFile, trust);
  return trust;
}
