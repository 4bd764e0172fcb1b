/** The chart installed on a cluster as for production, and a developer whose Codespace calls a service. */
import { type Developer, developerOf } from './developer.ts';
import { type ClusterWithImage, clusterWithImage, IN } from './on-cluster.ts';

export interface InUse {
  readonly on: ClusterWithImage;
  readonly developer: Developer;
  /** Ends the Codespace, and takes the installation away. */
  close(): Promise<void>;
}

export async function installationInUse(): Promise<InUse> {
  const on = await clusterWithImage();
  try {
    await on.prepareNamespace();
    await on.install();
    const developer = await developerOf(on.cluster);
    const close = async () => {
      await developer.close();
      await on.remove();
    };
    return { on, developer, close };
  } catch (thrown) {
    await on.remove();
    throw thrown;
  }
}

/** Calls that can be in progress on one tunnel: one by a new connection, one by the connection that is kept. */
const IN_PROGRESS = 2;
/** Time from the kubelet's first step until the tunnels break, ms: five seconds of sleep, five of draining, and a busy machine. */
const BREAKS_WITHIN_MS = 30_000;

/**
 * Leaves out failed calls whose tunnel ended with a mesh gateway, as the kubelet's events show: docs/install/upgrade.md says that they fail.
 * @param failed as of `Developer.during`
 * @returns the calls that failed at another time, with another detail, or in greater number
 */
export async function withoutGatewayEnds(on: ClusterWithImage, failed: readonly string[]): Promise<readonly string[]> {
  if (failed.length === 0) return failed;
  const ends = (await gatewayEnds(on)).map((at) => ({ at, left: IN_PROGRESS }));
  return failed.filter((line) => {
    const at = Date.parse(line.slice(0, line.indexOf(' ')));
    const end = ends.find((one) => one.left > 0 && at >= one.at && at <= one.at + BREAKS_WITHIN_MS);
    if (!end || !line.includes('{connection_termination}')) return true;
    end.left -= 1;
    return false;
  });
}

/** @returns when the kubelet began to end each gateway Pod, Unix ms */
async function gatewayEnds(on: ClusterWithImage): Promise<readonly number[]> {
  const each = '{range .items[*]}{.involvedObject.name} {.lastTimestamp}{"\\n"}{end}';
  const killing = ['--field-selector', 'reason=Killing', '-o', `jsonpath=${each}`];
  const lines = (await on.kubectl(...IN, 'get', 'events', ...killing)).split('\n');
  return lines
    .filter((line) => line.startsWith('meshpass-gateway-'))
    .map((line) => Date.parse(line.slice(line.indexOf(' ') + 1)));
}
