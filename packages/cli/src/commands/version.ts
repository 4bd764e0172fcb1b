import { setTimeout as pause } from 'node:timers/promises';
import { readCa } from '@meshpass/agent/control/config';
import { isPlainText, pageUrl, toMeshpassError, VERSION } from '@meshpass/identity';
import { fetchFromBroker, notBrokerError, parseBrokerUrl } from '../broker/request.ts';
import { defineCommand } from '../command/define.ts';
import { wholeNumber } from '../command/flag.ts';
import { output, proofFlags } from '../command/shared-flags.ts';

export const command = defineCommand({
  about:
    'With --broker, the command also queries the broker and warns if the two versions are too far apart. Works without a session.',
  flags: {
    broker: proofFlags.broker,
    caFile: proofFlags.caFile,
    wait: wholeNumber('<seconds>', 'how long to retry while the broker does not respond', { default: '0' }),
    output,
  },
  examples: ['meshpass version', 'meshpass version --broker https://broker.example.com --output json'],
  page: 'docs/versioning.md',
  run: async ({ broker, caFile, wait }) => {
    const client = { version: VERSION, node: process.versions.node };
    const asked = broker === undefined ? undefined : await askVersion(broker, caFile, wait);
    const skew = asked && explainVersionSkew(VERSION, asked.version);
    return {
      json: { client, broker: asked, skew },
      text: () => [
        `client: ${client.version} (Node.js ${client.node})`,
        ...(asked ? [`broker: ${asked.version}`] : []),
        ...(skew === undefined ? [] : [`warning: ${skew}`]),
      ],
    };
  },
});

const RETRY_MS = 500;

async function askVersion(
  broker: string,
  caFile: string | undefined,
  waitSeconds: number,
): Promise<{ readonly version: string }> {
  const ca = readCa(caFile);
  const until = performance.now() + waitSeconds * 1000;
  for (;;) {
    try {
      return { version: await fetchBrokerVersion(broker, ca) };
    } catch (thrown) {
      if (performance.now() >= until || toMeshpassError(thrown).code !== 'agent_broker_unreachable') throw thrown;
      await pause(RETRY_MS);
    }
  }
}

/**
 * Fetches the broker's version from `GET /version`.
 * @param broker the broker's public URL
 * @param ca the CA certificates in PEM format. Defaults to Node's built-in roots
 * @throws MeshpassError `usage`, `agent_broker_unreachable`
 */
export async function fetchBrokerVersion(broker: string, ca: string | undefined): Promise<string> {
  const base = parseBrokerUrl(broker);
  const answer = await fetchFromBroker(base, '/version', ca);
  const version = (answer.json as { version?: unknown } | undefined)?.version;
  if (answer.status === 200 && typeof version === 'string' && version.length <= 64 && isPlainText(version))
    return version;
  throw notBrokerError(base, answer);
}

/**
 * Explains why a version skew is not supported. The versions of the agent and the broker may differ by at most one
 * minor version (docs/versioning.md).
 * @returns a sentence, or undefined if the skew is supported
 */
export function explainVersionSkew(client: string, broker: string): string | undefined {
  const [ours, theirs] = [client, broker].map(minorOf);
  if (!ours || !theirs || (ours[0] === theirs[0] && Math.abs(ours[1] - theirs[1]) <= 1)) return undefined;
  const isNewer = ours[0] > theirs[0] || (ours[0] === theirs[0] && ours[1] > theirs[1]);
  return isNewer
    ? `this command is more than one minor version newer than the broker: update the broker (${pageUrl('docs/versioning.md')}).`
    : `this command is more than one minor version older than the broker: update this command (${pageUrl('docs/versioning.md')}).`;
}

function minorOf(version: string): readonly [number, number] | undefined {
  const [, major, minor] = /^(\d+)\.(\d+)\./.exec(version) ?? [];
  return major === undefined ? undefined : [Number(major), Number(minor)];
}
