/** istiod, asked directly: how it would configure a workload, and whether it accepts an object. */
import { connect } from 'node:http2';
import https from 'node:https';
import { type DescMessage, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import {
  CLUSTER,
  LISTENER,
  messageFromJson,
  messageType,
  ROUTE_CONFIGURATION,
  TYPE_URL_PREFIX,
  unpack,
} from '@meshpass/envoy';
import type { Lab } from '@meshpass/lab';
import type { KubeObject } from '@meshpass/lab/kubernetes';

const REQUEST = messageType('envoy.service.discovery.v3.DiscoveryRequest');
const RESPONSE = messageType('envoy.service.discovery.v3.DiscoveryResponse');
const PATH = '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources';

export interface Configuration {
  readonly clusters: readonly string[];
  readonly listeners: readonly string[];
  /** Hosts of a route configuration with the clusters that their routes lead to. */
  readonly routes: Readonly<Record<string, readonly string[]>>;
}

/**
 * Configuration that istiod sends to a sidecar of this ServiceAccount, by names.
 * @param routes route configurations to ask for
 */
export async function configurationOf(
  lab: Lab,
  { namespace, serviceAccount }: { readonly namespace: string; readonly serviceAccount: string },
  routes: readonly string[],
): Promise<Configuration> {
  const token = await lab.kubernetes.serviceAccountToken(namespace, serviceAccount, ['istio-ca'], 600);
  const session = connect(`https://${lab.istiodAddress}`, {
    ca: lab.rootCaPem(),
    servername: 'istiod.istio-system.svc',
  });
  const stream = session.request({
    ':method': 'POST',
    ':path': PATH,
    te: 'trailers',
    'content-type': 'application/grpc',
    authorization: `Bearer ${token}`,
  });
  const responses = messagesOf(stream, RESPONSE);
  const metadata = { NAMESPACE: namespace, SERVICE_ACCOUNT: serviceAccount, CLUSTER_ID: 'Kubernetes' };
  const domain = `${namespace}.svc.cluster.local`;
  const node = { id: `sidecar~203.0.113.10~${serviceAccount}.${namespace}~${domain}`, metadata };
  const ask = async (type: string, names: readonly string[] = []): Promise<readonly Named[]> => {
    const request = { node, type_url: TYPE_URL_PREFIX + type, resource_names: [...names] };
    stream.write(framed(toBinary(REQUEST, messageFromJson(REQUEST.typeName, request))));
    const { value } = await responses.next();
    return (value as { resources: readonly Any[] }).resources.map((any) => unpack(any) as Named);
  };
  try {
    return {
      clusters: (await ask(CLUSTER)).map(({ name }) => name).sort(),
      listeners: (await ask(LISTENER)).map(({ name }) => name).sort(),
      routes: Object.fromEntries(
        (routes.length > 0 ? await ask(ROUTE_CONFIGURATION, routes) : []).map(({ name, virtualHosts = [] }) => [
          name,
          virtualHosts.map((host) => `${host.name} -> ${host.routes.map(leadsTo).join(', ')}`).sort(),
        ]),
      ),
    };
  } finally {
    session.destroy();
  }
}

interface Named extends Message {
  readonly name: string;
  readonly virtualHosts?: readonly { readonly name: string; readonly routes: readonly Route[] }[];
}

interface Route {
  readonly action: {
    readonly case: string;
    readonly value: { readonly clusterSpecifier?: { readonly case: string; readonly value: unknown } };
  };
}

function leadsTo({ action }: Route): string {
  const to = action.value.clusterSpecifier;
  if (to?.case === 'weightedClusters')
    return (to.value as { readonly clusters: readonly { readonly name: string }[] }).clusters
      .map(({ name }) => name)
      .join(', ');
  return to === undefined ? action.case : to.case === 'cluster' ? String(to.value) : to.case;
}

function framed(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

async function* messagesOf(stream: AsyncIterable<Buffer>, type: DescMessage): AsyncGenerator<Message> {
  let pending = Buffer.alloc(0);
  for await (const chunk of stream) {
    pending = Buffer.concat([pending, chunk]);
    while (pending.length >= 5 && pending.length >= 5 + pending.readUInt32BE(1)) {
      const end = 5 + pending.readUInt32BE(1);
      yield fromBinary(type, pending.subarray(5, end));
      pending = pending.subarray(end);
    }
  }
}

/** Asks the validating webhook of istiod about an object of networking.istio.io. @returns undefined, or the reason of the refusal */
export async function validate(lab: Lab, object: KubeObject): Promise<string | undefined> {
  const { kind, metadata } = object;
  const group = { group: 'networking.istio.io', version: 'v1' };
  const review = {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: {
      uid: '1',
      kind: { ...group, kind },
      resource: { ...group, resource: `${kind.toLowerCase()}s` },
      operation: 'CREATE',
      name: metadata.name,
      namespace: metadata.namespace,
      object,
    },
  };
  const [host] = lab.istiodAddress.split(':');
  const answer = await new Promise<string>((resolve, reject) => {
    const options = {
      host,
      port: 15017,
      path: '/validate',
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      ca: lab.rootCaPem(),
      servername: 'istiod.istio-system.svc',
    };
    const request = https.request(options, (response) => {
      let text = '';
      response.on('data', (chunk) => {
        text += chunk;
      });
      response.on('end', () => resolve(text));
    });
    request.on('error', reject);
    request.end(JSON.stringify(review));
  });
  const { response } = JSON.parse(answer) as { response: { allowed: boolean; status?: { message: string } } };
  return response.allowed ? undefined : (response.status?.message ?? 'no reason');
}
