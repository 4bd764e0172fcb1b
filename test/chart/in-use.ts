/** The chart installed on a cluster as for production, and a developer whose Codespace calls a service. */
import { type Developer, developerOf } from './developer.ts';
import { type ClusterWithImage, clusterWithImage } from './on-cluster.ts';

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
