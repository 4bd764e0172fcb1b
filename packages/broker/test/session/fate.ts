/** A store whose answers get lost; tests put it in the place of the real one with `withFate`. */
import { MeshpassError } from '@meshpass/identity';
import type * as open from '../../src/store/open.ts';
import type { Statement } from '../../src/store/statement.ts';

/** What a transaction of the store writes. */
export interface Written {
  readonly audit: readonly { readonly action: string; readonly grant_name?: string }[];
  readonly rows: <Row>(statement: Statement<Row>) => readonly Row[];
}

/** Fate of each transaction. `lost`: the store writes it, and the broker gets no answer. */
export const fate = {
  of: (_: Written): 'written' | 'lost' | 'refused' => 'written',
  /** Runs after the write, before the broker gets the answer. */
  after: async (_: Written): Promise<void> => {},
};

/** Lets the next transaction that `which` names lose its answer. */
export function loseOnce(which: (written: Written) => boolean): void {
  let done = false;
  fate.of = (written) => {
    if (done || !which(written)) return 'written';
    done = true;
    return 'lost';
  };
}

/** Lets every transaction be written. */
export function resetFate(): void {
  fate.of = () => 'written';
  fate.after = async () => {};
}

export async function withFate(original: () => Promise<unknown>): Promise<typeof open> {
  const real = (await original()) as typeof open;
  const openStore: typeof open.openStore = async (options) => {
    const { APPEND_ROWS } = await import('../../src/audit/log/statements.ts');
    const store = await real.openStore(options);
    const commit: typeof store.commit = async (steps) => {
      const rows: Written['rows'] = ({ name }) => {
        const step = steps.find((one) => one.name === name);
        return step ? JSON.parse(step.parameter) : [];
      };
      const written = { audit: rows(APPEND_ROWS as never) as Written['audit'], rows };
      const what = fate.of(written);
      if (what === 'refused') throw new MeshpassError('store_unavailable', 'Nothing is written.');
      await store.commit(steps);
      await fate.after(written);
      if (what === 'lost') throw new Error('The answer was lost.');
    };
    return { ...store, commit };
  };
  return { ...real, openStore };
}
