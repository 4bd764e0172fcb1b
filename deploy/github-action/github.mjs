/** GitHub's REST API with the token of the job, and no dependencies. */
const PATIENCE_MS = 20_000;

/**
 * @param {string} method
 * @param {string} path
 * @param {object} [json]
 * @returns {Promise<Response>} whatever its status
 */
export async function ask(method, path, json) {
  const { GITHUB_API_URL: api, GITHUB_TOKEN: token } = process.env;
  return await fetch(`${api}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      accept: 'application/vnd.github+json',
      'x-github-api-version': '2022-11-28',
      ...(json && { 'content-type': 'application/json' }),
    },
    ...(json && { body: JSON.stringify(json) }),
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
}

/** Response of GitHub that is not a success. */
export class RefusedCall extends Error {
  constructor(method, path, status) {
    super(`GitHub responded to ${method} ${path.split('?')[0]} with ${status}.`);
    this.status = status;
  }
}

/** Calls GitHub. @throws RefusedCall if GitHub refuses */
export async function call(method, path, json) {
  const answer = await ask(method, path, json);
  if (!answer.ok) throw new RefusedCall(method, path, answer.status);
  return await answer.json();
}
