import { createLogger } from '@meshpass/broker/base/telemetry/log';
import { controlBroker, createBrokerDecisionQueue, createSessionDirectory, followBroker } from '@meshpass/edge';
import { MeshpassError } from '@meshpass/identity';
import { defineCommand } from '../command/define.ts';
import { address, type OptionsOf, text, wholeNumber, withEnvironmentVariables } from '../command/flag.ts';
import { logLevel } from '../command/shared-flags.ts';
import { configFlag } from '../input/config-file.ts';
import { runEdge, waitForSignal } from '../serve/edge-process.ts';

const flags = withEnvironmentVariables({
  config: configFlag,
  listen: address('<host:port>', 'address that agents connect to', {
    env: 'MESHPASS_EDGE_LISTEN',
    default: '0.0.0.0:443',
  }),
  broker: text('<url,...>', 'URL of the broker, or the URLs of all brokers if there are several', { required: true }),
  brokerToken: text('<file>', 'ServiceAccount token with audience meshpass-broker', {
    env: 'MESHPASS_BROKER_TOKEN_FILE',
    required: true,
  }),
  brokerCa: text('<file>', "CA of the broker's certificate, PEM", { defaultText: 'the system CAs' }),
  brokerName: text('<name>', "DNS name in the broker's certificate", { defaultText: 'the host of --broker' }),
  stale: wholeNumber(
    '<seconds>',
    'reject and close all connections once the broker has been silent for this long; until then, the edge does not learn of ended sessions',
    { env: 'MESHPASS_EDGE_STALE', default: '600' },
  ),
  drain: wholeNumber(
    '<seconds>',
    'after SIGTERM, keep serving until no tunnels are left, for at most this long, while agents move to other edges; a second signal ends the process immediately',
    { env: 'MESHPASS_EDGE_DRAIN', default: '20' },
  ),
  tlsCert: text('<file>', 'certificate chain of the edge, PEM; always required', { env: 'MESHPASS_EDGE_TLS_CERT' }),
  tlsKey: text('<file>', 'private key of the certificate, PEM; always required', { env: 'MESHPASS_EDGE_TLS_KEY' }),
  meshGateway: address(
    '<host:port>',
    'the mesh gateway, the only address the edge dials besides --kubernetes-api; always required',
  ),
  kubernetesApi: address(
    '<host:port>',
    'the Kubernetes API server, for kubectl in workspaces whose grants have roles',
    { defaultText: 'the edge does not connect to it' },
  ),
  operatorListen: address('<host:port>', 'edge probes and metrics, plain HTTP', {
    env: 'MESHPASS_EDGE_OPERATOR_LISTEN',
    defaultText: 'none',
  }),
  logLevel,
});

export const command = defineCommand({
  flags,
  examples: [
    'meshpass edge --broker https://broker.example.com --broker-token token --tls-cert tls.crt --tls-key tls.key --mesh-gateway gateway:15443',
  ],
  page: 'docs/operating-edge.md',
  run: edge,
});

async function edge(options: OptionsOf<typeof flags>): Promise<void> {
  const { tlsCert, tlsKey, meshGateway } = options;
  if (!tlsCert || !tlsKey || !meshGateway) {
    throw new MeshpassError('usage', 'The edge requires --tls-cert, --tls-key and --mesh-gateway.');
  }
  const log = createLogger('edge', options.logLevel);
  const directory = createSessionDirectory({ clock: Date.now, staleMs: options.stale * 1000 });
  const broker = {
    urls: options.broker.split(','),
    tokenFile: options.brokerToken,
    ...(options.brokerCa !== undefined && { caFile: options.brokerCa }),
    ...(options.brokerName !== undefined && { serverName: options.brokerName }),
  };
  const following = followBroker({ ...broker, directory, log });
  const post = createBrokerDecisionQueue({ ...broker, log });
  const control = controlBroker(broker);
  const running = await runEdge({
    listen: options.listen,
    tlsCert,
    tlsKey,
    gateway: meshGateway,
    kubernetesApi: options.kubernetesApi,
    operatorListen: options.operatorListen,
    directory,
    report: post.report,
    control,
    log,
  });
  await waitForSignal();
  await running.drain(options.drain * 1000);
  await running.close();
  control.close();
  await Promise.all([following.close(), post.close()]);
}
