/** Flags of `meshpass serve` that need one another. */
import { expect, it } from 'vitest';
import { parsePolicyAuthors } from '../../src/serve/flags.ts';

const given = { policyIssuer: 'https://token.actions.githubusercontent.com', policyRef: 'refs/heads/main' };
const workflow = 'acme/access/.github/workflows/access.yml@refs/heads/main';

it('only operators apply if no repository is configured', () => {
  expect(parsePolicyAuthors(given)).toBeUndefined();
});

it('a repository and its workflow are one setting', () => {
  expect(parsePolicyAuthors({ ...given, policyRepository: 7001, policyWorkflow: workflow })).toMatchObject({
    repositoryId: 7001,
    workflow,
  });
});

it.each([
  ['a repository without its workflow', { policyRepository: 7001 }, '--policy-repository requires --policy-workflow'],
  ['a workflow alone', { policyWorkflow: workflow }, '--policy-workflow has no effect without --policy-repository'],
  ['an environment alone', { policyEnvironment: 'prod' }, '--policy-environment has no effect'],
])('%s is refused by the names of the flags', (_, flags, message) => {
  expect(() => parsePolicyAuthors({ ...given, ...flags })).toThrow(message);
});
