/** Journals between a broker and its store, which see each transaction before it is written. */
import type { Journal } from '../../src/audit/log/journal.ts';
import { collectUnit, type Unit } from '../../src/audit/log/unit.ts';
import type { AnyStatement, Statement } from '../../src/store/statement.ts';

/** @param via is given each unit, and writes it or not */
export function journalVia(journal: Journal, via: (unit: Unit, write: () => Promise<void>) => Promise<void>): Journal {
  return {
    ...journal,
    transaction: async (record, written) => {
      const unit = collectUnit(record);
      await via(unit, () =>
        journal.transaction((tx) => {
          tx.once(unit.proof);
          for (const [statement, rows] of unit.writes) tx.write(statement as Statement<unknown>, ...rows);
          tx.audit(...unit.audit);
        }, written),
      );
    },
  };
}

/** A journal without a store. */
export function playJournal(write: (unit: Unit) => Promise<void>): Journal {
  return {
    transaction: async (record, written) => {
      await write(collectUnit(record));
      written?.();
    },
    settled: async () => {},
    flush: async () => {},
  };
}

/** Rows of a unit for a statement. */
export function rowsFor<Row>(unit: Unit, statement: Statement<Row>): readonly Row[] {
  return unit.writes.flatMap(([own, rows]) => (own === (statement as AnyStatement) ? (rows as readonly Row[]) : []));
}
