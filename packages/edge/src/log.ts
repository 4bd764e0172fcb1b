/** The subset of a structured logger that the edge uses, with pino's signatures. */
export interface EdgeLog {
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}

export const SILENT_LOG: EdgeLog = { info() {}, warn() {} };
