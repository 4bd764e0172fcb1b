/** Defines the `meshpass drill` command. */
import { existsSync, writeFileSync } from 'node:fs';
import { agentConfig, readCa } from '@meshpass/agent/control/config';
import { controlPath } from '@meshpass/agent/control/control';
import { discoverProofSource } from '@meshpass/agent/session/discover';
import { MeshpassError } from '@meshpass/identity';
import {
  DRILL_CAUSES,
  type DrillEvidence,
  type DrillReport,
  EVIDENCE_TYPE,
  DrillEvidence as Evidence,
  failedRows,
} from '@meshpass/identity/drill-report';
import { compactVerify, createLocalJWKSet, type JSONWebKeySet } from 'jose';
import { fetchFromBroker, notBrokerError, parseBrokerUrl } from '../broker/request.ts';
import { defineCommand } from '../command/define.ts';
import { address, choice, list, type OptionsOf, parseHostPort, text, toggle, wholeNumber } from '../command/flag.ts';
import { type Answer, EXIT, printErrorLines } from '../command/outcome.ts';
import { CLUSTER_DOMAIN_ENV, operatorFlags, output, proofFlags, TOKEN_ENV } from '../command/shared-flags.ts';
import { createDrillOperator } from '../drill/causes.ts';
import { openCluster } from '../drill/cluster.ts';
import type { InClusterAddresses } from '../drill/replays.ts';
import { runDrill } from '../drill/run.ts';
import { formatDrillReport } from '../drill/table.ts';
import { readTextFile } from '../input/files.ts';
import { SessionFile } from '../login/session-file.ts';
import { createOperatorClient } from '../operator/client.ts';

const flags = {
  ...proofFlags,
  cause: choice(DRILL_CAUSES, 'how the session ends; outside: wait until another person or process ends it', {
    value: '<cause>',
    default: 'goodbye',
  }),
  wait: wholeNumber('<seconds>', 'how long to wait for --cause outside', { default: '300' }),
  rebuild: toggle('then open a new session for the same workspace, to show that it works while the old one stays dead'),
  service: text('<host:port>', 'granted HTTP service to call', { defaultText: 'the first granted service' }),
  path: text('<path>', 'path to GET there', { defaultText: '/' }),
  ...operatorFlags,
  kubeconfig: text('<file>', 'also check ServiceAccounts, their tokens and the root DENY in this cluster', {
    env: 'MESHPASS_KUBECONFIG',
  }),
  rootNamespace: text('<name>', "Istio's root namespace", {
    env: 'MESHPASS_ROOT_NAMESPACE',
    default: 'istio-system',
  }),
  insideGateway: address('<host:port>', 'mesh gateway, if the drill runs inside the cluster'),
  insidePod: list('<service:port=host:port...>', 'pod of a granted service, if the drill runs inside the cluster'),
  evidence: text('<file>', 'write the report here, signed by the broker; requires an operator (meshpass login)'),
  verify: text('<file>', 'only verify and print a report written by --evidence'),
  jwks: text('<file>', "verify with these keys, instead of the broker's current ones"),
  output,
};
type DrillFlags = OptionsOf<typeof flags>;

export const command = defineCommand({
  about:
    'Opens a session, ends it, and tries all of its credentials and connections again at every layer. With an operator session (meshpass login), it can also close the session, check the store and have the report signed.',
  flags,
  exitCodes: { 0: 'nothing stale works', 1: 'something stale works, or the drill failed' },
  env: { ...TOKEN_ENV, ...CLUSTER_DOMAIN_ENV },
  examples: [
    'meshpass drill --cause admin --rebuild --evidence drill.jws',
    'meshpass drill --verify drill.jws --jwks jwks.json',
  ],
  page: 'docs/drill.md',
  run: drill,
});

async function drill(flags: DrillFlags): Promise<Answer> {
  if (flags.verify !== undefined) return await verify(flags, flags.verify);
  const { broker: url, caFile, proofFile, audience, runtimeDirectory, presencePort, clusterDomain } = config(flags);
  const broker = parseBrokerUrl(url);
  const ca = readCa(caFile);
  if (existsSync(controlPath(runtimeDirectory)))
    throw new MeshpassError(
      'agent_already_running',
      'The drill would end the session of the agent running here. Run it in a scratch Codespace, or run meshpass down first.',
    );
  const isOperator =
    flags.operatorToken !== undefined ||
    process.env.MESHPASS_OPERATOR_TOKEN !== undefined ||
    new SessionFile(flags.operator).read() !== undefined;
  for (const [needing, wanted] of [
    ['--cause admin', flags.cause === 'admin'],
    ['--evidence', flags.evidence !== undefined],
  ] as const)
    if (wanted && !isOperator) throw new MeshpassError('usage', `${needing} requires an operator. Run meshpass login.`);
  const call = isOperator ? createOperatorClient({ ...flags, caFile }) : undefined;
  // Fail early if --operator or the token is wrong, before a session is opened and ended.
  await call?.('GET', '/admin/trust');
  const operator = call && createDrillOperator(call);
  const cluster = flags.kubeconfig ? await openCluster(flags.kubeconfig, flags.rootNamespace) : undefined;
  try {
    const report = await runDrill({
      broker,
      ca,
      presencePort,
      clusterDomain,
      proofs: discoverProofSource({ proofFile, audience }),
      cause: flags.cause,
      rebuild: flags.rebuild,
      wait: flags.wait * 1000,
      choice: { service: flags.service, path: flags.path },
      inside: insideOf(flags),
      operator,
      cluster,
      progress: (what) => {
        // If the cause is `outside`, the operator needs to see the progress to know when to end the session.
        if (flags.cause === 'outside' || (flags.output === 'text' && process.stderr.isTTY))
          printErrorLines(`… ${what}`);
      },
    });
    if (flags.evidence !== undefined)
      writeFileSync(flags.evidence, `${await operator!.sign(report)}\n`, { mode: 0o644 });
    return reportAnswer(report);
  } finally {
    cluster?.close();
  }
}

async function verify(flags: DrillFlags, file: string): Promise<Answer> {
  const evidence = readTextFile(file, '--verify', 'config_invalid');
  const { drill: report, witness } = await verifyEvidence(evidence, await keysOf(flags));
  const { closed_at: closedAt, close_cause: cause } = witness.session;
  const signed = `Signed by ${witness.broker} at ${witness.signed_at}; its store records: closed at ${closedAt} (${cause}).`;
  return {
    ...reportAnswer(report),
    json: { drill: report, witness },
    text: () => [...formatDrillReport(report), signed],
  };
}

function reportAnswer(report: DrillReport): Answer {
  const exit = failedRows(report).length === 0 ? EXIT.ok : EXIT.failed;
  return { json: report, text: () => formatDrillReport(report), exit };
}

async function keysOf(flags: DrillFlags): Promise<unknown> {
  if (flags.jwks !== undefined) {
    const keys = readTextFile(flags.jwks, '--jwks', 'config_invalid');
    try {
      return JSON.parse(keys);
    } catch (cause) {
      throw new MeshpassError('config_invalid', `${flags.jwks} is not a valid JWK Set.`, { cause });
    }
  }
  if (!flags.broker)
    throw new MeshpassError(
      'config_invalid',
      '--verify requires the keys that signed the report. Pass --jwks FILE (offline), or --broker https://... to fetch them.',
    );
  const { broker, caFile } = config(flags);
  const base = parseBrokerUrl(broker);
  const answer = await fetchFromBroker(base, '/jwks', readCa(caFile));
  if (answer.status === 200) return answer.json;
  throw notBrokerError(base, answer);
}

function config({ broker, caFile, proofFile, audience }: DrillFlags) {
  return agentConfig({ broker, caFile, proofFile, audience }, process.env);
}

function insideOf({ insideGateway, insidePod }: DrillFlags): InClusterAddresses {
  const pods = insidePod.map((text) => {
    const [service, address] = text.split('=');
    if (!service || !address)
      throw new MeshpassError('usage', `--inside-pod must be SERVICE:PORT=HOST:PORT, not "${text}".`);
    return [service, parseHostPort(address, '--inside-pod')] as const;
  });
  return { gateway: insideGateway, pods: new Map(pods) };
}

// The rest of this file verifies evidence files. An evidence file contains a drill report and the broker's record of
// the session, signed by the broker as a compact JWS (RFC 7515).

/**
 * Verifies an evidence file.
 * @param jws the contents of the evidence file
 * @param jwks the public keys that the broker had at the time of the drill
 * @throws MeshpassError `evidence_invalid`
 */
export async function verifyEvidence(jws: string, jwks: unknown): Promise<DrillEvidence> {
  const invalid = (message: string, cause?: unknown) => new MeshpassError('evidence_invalid', message, { cause });
  let payload: unknown;
  try {
    const keys = createLocalJWKSet(jwks as JSONWebKeySet);
    const verified = await compactVerify(jws.trim(), keys, { algorithms: ['RS256'] });
    if (verified.protectedHeader.typ !== EVIDENCE_TYPE) throw new Error(`typ is ${verified.protectedHeader.typ}`);
    payload = JSON.parse(Buffer.from(verified.payload).toString('utf8'));
  } catch (cause) {
    throw invalid(`The broker did not sign this evidence (${(cause as Error).message}).`, cause);
  }
  const read = Evidence.safeParse(payload);
  if (!read.success) throw invalid('The broker signed this evidence, but this version cannot read it.', read.error);
  const { drill, witness } = read.data;
  if (drill.session.id !== witness.session.id) throw invalid('Report and witness belong to different sessions.');
  return read.data;
}
