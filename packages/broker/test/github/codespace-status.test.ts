/** Effects of GitHub's lists on a session. */
import { CODESPACE_STATES } from '@meshpass/lab/github/state';
import { describe, expect, it } from 'vitest';
import { indexCodespaces, statusOf } from '../../src/core/watch/codespace-watch.ts';

const space = { id: 7, name: 'one' };
const list = (...items: { id: number; name: string; state: string }[]) => indexCodespaces({ items, consistent: true });

describe('wordOn', () => {
  const kind = Object.fromEntries(
    [...CODESPACE_STATES, 'Invented'].map((state) => [state, statusOf(space, list({ ...space, state })).kind]),
  );

  it('accepts one state only, ends at once if the container is gone, and doubts the rest', () => {
    const by = (status: string) => Object.keys(kind).filter((state) => kind[state] === status);
    expect(by('available')).toEqual(['Available']);
    expect(by('over').sort()).toEqual(
      ['Archived', 'Created', 'Deleted', 'Failed', 'Moved', 'Provisioning', 'Queued', 'Rebuilding', 'Shutdown']
        .concat(['ShuttingDown', 'Starting'])
        .sort(),
    );
    expect(by('doubtful').sort()).toEqual(
      ['Awaiting', 'Exporting', 'Invented', 'Unavailable', 'Unknown', 'Updating'].sort(),
    );
  });

  it('distinguishes stopped from deleted', () => {
    expect(statusOf(space, list({ ...space, state: 'Shutdown' }))).toMatchObject({ cause: 'workspace_stopped' });
    expect(statusOf(space, list({ ...space, state: 'Deleted' }))).toMatchObject({ cause: 'workspace_deleted' });
  });

  it('goes by id: a successor under the same name ends it, a new name does not', () => {
    expect(statusOf(space, list({ id: 8, name: 'one', state: 'Available' }))).toMatchObject({
      kind: 'over',
      cause: 'workspace_deleted',
    });
    expect(statusOf(space, list({ id: 7, name: 'two', state: 'Available' })).kind).toBe('available');
    expect(statusOf(space, list({ id: 8, name: 'two', state: 'Available' })).kind).toBe('absent');
  });

  it('knows a list whose pages do not fit together', () => {
    const one = { ...space, state: 'Available' };
    expect(list(one).isWhole).toBe(true);
    expect(list(one, one).isWhole).toBe(false);
    expect(indexCodespaces({ items: [one], consistent: false }).isWhole).toBe(false);
  });
});
