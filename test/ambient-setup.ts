/** Global set-up of the project `ambient`: one lab for all its files. Without a ztunnel they are skipped. */
import { upLab } from '@meshpass/lab';
import { AMBIENT_LAB } from './labs.ts';

export default async function setup(): Promise<(() => Promise<void>) | undefined> {
  if (!process.env.MESHPASS_ZTUNNEL) return undefined;
  const progress = (line: string): void => console.log(`ambient lab: ${line}`);
  const lab = await upLab({ name: AMBIENT_LAB, with: ['ambient'], progress });
  return () => lab.down();
}
