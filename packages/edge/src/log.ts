/** Subset of a structured logger, with pino's signature. */
export interface EdgeLog {
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}

export const SILENT_LOG: EdgeLog = { info() {}, warn() {} };
