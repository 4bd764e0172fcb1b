/** Set-up file of the project `unit`: brokers in a test's process open a store that answers late, if the variable is set. */
import { vi } from 'vitest';
import type * as open from '../../packages/broker/src/store/open.ts';
import { storeDelay, withLateAnswers } from './late-store.ts';

const delay = storeDelay(process.env);
// A test file that mocks this module itself gets its own mock.
if (delay > 0)
  vi.doMock('../../packages/broker/src/store/open.ts', async (original) => {
    const real = (await original()) as typeof open;
    const openStore: typeof open.openStore = async (options) => withLateAnswers(await real.openStore(options), delay);
    return { ...real, openStore };
  });
