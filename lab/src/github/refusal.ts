/** GitHub's error bodies: a message, as documented, and the status again as text. */
import { HTTPException } from 'hono/http-exception';
import type { ContentfulStatusCode } from 'hono/utils/http-status';

const DOCS = 'https://docs.github.com/rest';

/** An exception that answers with GitHub's error body. */
export function refusal(
  status: ContentfulStatusCode,
  message: string,
  page = '',
  headers: Record<string, string> = {},
): HTTPException {
  const body = { message, documentation_url: DOCS + page, status: String(status) };
  return new HTTPException(status, { message, res: Response.json(body, { status, headers }) });
}

export const badCredentials = () => refusal(401, 'Bad credentials');
export const requiresAuthentication = () => refusal(401, 'Requires authentication');
export const notFound = (page = '') => refusal(404, 'Not Found', page);
/** Refusal for an App or a workflow at an endpoint for people. */
export const notForIntegrations = (page = '') => refusal(403, 'Resource not accessible by integration', page);
