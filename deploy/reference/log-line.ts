/** The JSON Schema of a line of the log. */
import { LogLine } from '@meshpass/broker/base/telemetry/log-line';
import { z } from 'zod';

export function logLineSchema() {
  return z.toJSONSchema(LogLine, { io: 'output' });
}
