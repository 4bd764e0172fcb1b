/** Stops a lab in any state. */
import { destroyNetwork, namespacesOf } from './network/destroy.ts';
import { readRecord, removeState } from './state.ts';

/** Call it holding the lab's lock. @returns whether there was anything */
export async function down(name: string): Promise<boolean> {
  const record = readRecord(name);
  const something = record !== undefined || namespacesOf(name).length > 0;
  await destroyNetwork(name, record?.subnet);
  removeState(name);
  return something;
}
