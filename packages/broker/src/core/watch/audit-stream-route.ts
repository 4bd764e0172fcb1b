/**
 * Receives GitHub's audit log stream by acting as a Splunk HTTP Event Collector. An enterprise is configured with a
 * host, a port and a token, and GitHub then posts to `/services/collector`. Other log forwarders can use
 * `/github/audit-stream`.
 */
import type { IncomingMessage } from 'node:http';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { MeshpassError } from '@meshpass/identity';
import { annotateEvent } from '../../audit/index.ts';
import { equalInConstantTime } from '../../base/index.ts';
import { bodyTooLargeError, type Route, readBytes, route } from '../../http/index.ts';
import { type GithubAuditEvent, parseAuditEvents } from './audit-events.ts';

const PATHS = ['/github/audit-stream', '/services/collector', '/services/collector/event'] as const;
const MAX_BODY = 8 * 1024 * 1024;
const MAX_INFLATED = 32 * 1024 * 1024;
const inflate = promisify(gunzip);

/**
 * Creates the routes that implement the HTTP Event Collector.
 * @param handle called with the received events that concern Codespaces or members
 */
export function githubEventRoutes(
  token: string,
  handle: (events: readonly GithubAuditEvent[]) => void,
): readonly Route[] {
  return PATHS.map((path) =>
    route({
      at: `POST ${path}`,
      action: 'github.events',
      authentication: ({ request, event }) => {
        if (!isGithub(request.headers.authorization, token))
          throw new MeshpassError('github_unauthorized', 'The audit log stream token is required.');
        annotateEvent(event, { known: true });
      },
      read: readText,
      handler: async ({ body }) => {
        // Sessions may end after the response has been sent, each with its own audit event. Accepted events are not
        // recorded.
        handle(parseAuditEvents(body));
        return { text: 'Success', code: 0 };
      },
    }),
  );
}

/** Whether the header contains the token, either as `Splunk TOKEN` (which GitHub sends) or as `Bearer TOKEN`. */
function isGithub(authorization: string | undefined, token: string): boolean {
  const given = /^(?:splunk|bearer) +(\S+)$/i.exec(authorization ?? '')?.[1] ?? '';
  return equalInConstantTime(given, token);
}

async function readText(request: IncomingMessage): Promise<string> {
  const body = await readBytes(request, MAX_BODY);
  const encoding = request.headers['content-encoding']?.toLowerCase() ?? 'identity';
  if (encoding === 'identity') return body.toString('utf8');
  if (encoding !== 'gzip') throw new MeshpassError('request_malformed', 'The only supported compression is gzip.');
  try {
    return (await inflate(body, { maxOutputLength: MAX_INFLATED })).toString('utf8');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw bodyTooLargeError(MAX_INFLATED);
    throw new MeshpassError('request_malformed', 'The body is not valid gzip.');
  }
}
