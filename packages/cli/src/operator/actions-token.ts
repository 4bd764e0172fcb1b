/** The OIDC token of a job of GitHub Actions, for one audience (GitHub docs: "OpenID Connect reference", custom requests). */
import { MeshpassError } from '@meshpass/identity/error';

/** @returns undefined outside a job that may have one (`permissions: id-token: write`) */
export async function actionsToken(audience: string, environment: NodeJS.ProcessEnv): Promise<string | undefined> {
  const { ACTIONS_ID_TOKEN_REQUEST_URL: url, ACTIONS_ID_TOKEN_REQUEST_TOKEN: token } = environment;
  if (!url || !token) return undefined;
  const asked = new URL(url);
  asked.searchParams.set('audience', audience);
  try {
    const answer = await fetch(asked, {
      headers: { authorization: `Bearer ${token}`, accept: 'application/json' },
      signal: AbortSignal.timeout(10_000),
    });
    const { value } = (await answer.json()) as { value?: unknown };
    if (answer.ok && typeof value === 'string') return value;
    throw new Error(`status ${answer.status}`);
  } catch (cause) {
    throw new MeshpassError(
      'issuer_unavailable',
      'GitHub Actions issued no OIDC token for this job. Check that it has id-token: write.',
      { cause },
    );
  }
}
