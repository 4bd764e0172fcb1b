/** `meshpass edge`: the edge alone. */
import { createLog } from '@meshpass/broker/telemetry/log';
import { createDirectory, followBroker, postDecisions } from '@meshpass/edge';
import { MeshpassError } from '@meshpass/identity/error';
import { hostPort, wholeNumber } from '../input/host-port.ts';
import { runEdge } from '../serve/edge-process.ts';
import { untilSignal } from '../serve/until-signal.ts';

interface EdgeOptions {
  readonly listen: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly meshGateway?: string;
  readonly operatorListen?: string;
  readonly broker: string;
  readonly brokerToken: string;
  readonly brokerCa?: string;
  readonly stale: string;
  readonly logLevel: string;
}

export async function edge(options: EdgeOptions): Promise<void> {
  const { tlsCert, tlsKey, meshGateway } = options;
  if (!tlsCert || !tlsKey || !meshGateway) {
    throw new MeshpassError('usage', 'The edge needs --tls-cert, --tls-key and --mesh-gateway.');
  }
  const log = createLog(options.logLevel).child({ component: 'edge' });
  const directory = createDirectory({ clock: Date.now, staleMs: wholeNumber(options.stale, '--stale') * 1000 });
  const broker = {
    urls: options.broker.split(','),
    tokenFile: options.brokerToken,
    ...(options.brokerCa !== undefined && { caFile: options.brokerCa }),
  };
  const following = followBroker({ ...broker, directory, log });
  const post = postDecisions({ ...broker, log });
  const running = await runEdge({
    listen: hostPort(options.listen, '--listen'),
    tlsCert,
    tlsKey,
    gateway: hostPort(meshGateway, '--mesh-gateway'),
    operatorListen: options.operatorListen ? hostPort(options.operatorListen, '--operator-listen') : undefined,
    directory,
    report: post.report,
    log,
  });
  await untilSignal();
  await running.close();
  await Promise.all([following.close(), post.close()]);
}
