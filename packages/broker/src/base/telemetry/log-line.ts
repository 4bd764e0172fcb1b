/**
 * The schema of the log lines that brokers and edges write. Other programs may rely on this format, which is documented
 * in docs/interfaces/README.md.
 */
import { z } from 'zod';

const COMPONENTS = ['broker', 'mesh', 'edge'] as const;
/** A component of Meshpass. `mesh` is the part of the broker that watches the cluster and writes to it. */
export type Component = (typeof COMPONENTS)[number];

/** An error as serialized by pino. */
const Failure = z
  .looseObject({
    type: z.string().optional().meta({ description: 'Class of what was thrown' }),
    message: z.string().meta({ description: 'Its message, with the messages of its causes' }),
    stack: z.string().optional().meta({ description: 'Where it was thrown' }),
    code: z.string().optional().meta({ description: 'An error code of Meshpass, or of Node.js' }),
  })
  .meta({ description: 'What was thrown' });

const id = (description: string) => z.string().optional().meta({ description });

/** A log line. Depending on the message, it may have additional members, which may change along with the message. */
export const LogLine = z
  .looseObject({
    level: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal']).meta({ description: 'How urgent it is' }),
    time: z.iso.datetime().meta({ description: 'When it was written, UTC' }),
    component: z.enum(COMPONENTS).meta({ description: 'Which part of Meshpass wrote it' }),
    msg: z.string().meta({ description: 'Event, as text; not stable' }),
    err: Failure.optional(),
    where: id('Which dependency failed: the label of meshpass_failures_total'),
    code: id('Error code of a refusal (docs/troubleshooting.md)'),
    message: id('Its message'),
    action: id('Requested action, as in the audit log'),
    decision: id('Id of the row in the audit log'),
    session: id('Id of the session'),
    requestId: id('The x-request-id of the answer'),
    decisions: z.array(z.looseObject({})).optional().meta({
      description: "An edge's decisions that are not in the audit log: rows that an operator may want to keep",
    }),
    version: id('Version of Meshpass, in the line that says that it serves'),
  })
  .meta({ title: 'A log line of Meshpass', description: 'One JSON object a line, on standard output' });
export type LogLine = z.infer<typeof LogLine>;
