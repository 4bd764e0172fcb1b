/** The ConfigMap that keeps the newest checkpoint of the audit log over 5,000 rows: deleted, set back, or of no use any more. */
import { CHECKPOINT, checkpointData } from './honest.ts';
import type { Row } from './identities.ts';
import { merge, type Request, remove } from './requests.ts';

const keep = (size: string, ofRows?: string) => merge(CHECKPOINT, { data: checkpointData(size, ofRows) });
const also = (body: object): Request => merge(CHECKPOINT, { data: checkpointData('5001'), ...body });
const beside = (data: object) => also({ data: { ...checkpointData('5001'), ...data } });

const NEXT = keep('5001');
const LATER = 'replaced by a later one only';
const NO_OWNER = 'has no owner, no binary data, and is not immutable';
const NOTHING_ELSE = 'a note of at most 4,096 characters, its time, and nothing else';
const METADATA = 'nor change other metadata';
const SAME = 'about the epoch and the size beside it';
const owner = {
  apiVersion: 'v1',
  kind: 'ConfigMap',
  name: 'not-there',
  uid: '00000000-0000-0000-0000-000000000001',
};

export const CHECKPOINTS: readonly Row[] = [
  ['the checkpoint deleted', remove(CHECKPOINT), NEXT, 'cannot delete resource'],
  [
    'the checkpoint deleted by an owner that is not there',
    also({ metadata: { ownerReferences: [owner] } }),
    NEXT,
    NO_OWNER,
  ],
  ['a checkpoint that is immutable', also({ immutable: true }), NEXT, NO_OWNER],
  ['binary data beside the checkpoint', also({ binaryData: { x: 'A'.repeat(900_000) } }), NEXT, NO_OWNER],
  ['a checkpoint over fewer rows', keep('10'), NEXT, LATER],
  [
    'another checkpoint over as many rows',
    beside({ size: '5000', note: checkpointData('5000').note.replace('AAAA', 'BBBB') }),
    NEXT,
    LATER,
  ],
  ['an old checkpoint under a larger number', keep('5001', '10'), NEXT, SAME],
  ['a checkpoint of another epoch under this one', beside({ note: 'x/audit/2\n5001\n' }), NEXT, SAME],
  ['a checkpoint over more rows than there can be', keep('999999999999999'), NEXT, NOTHING_ELSE],
  ['a checkpoint as long as a ConfigMap may be', beside({ note: 'x'.repeat(900_000) }), NEXT, NOTHING_ELSE],
  ['a checkpoint without a note', beside({ note: null }), NEXT, NOTHING_ELSE],
  ['a checkpoint at no time', beside({ time: 'x'.repeat(1_000) }), NEXT, NOTHING_ELSE],
  ['data beside the checkpoint', beside({ other: 'x' }), NEXT, NOTHING_ELSE],
  ['all data taken away', also({ data: null }), NEXT, NOTHING_ELSE],
  [
    'a restore without acceptance',
    beside({ epoch: '2', note: checkpointData('5001').note.replace('/audit', '/audit/2') }),
    NEXT,
    'accept-restore names it',
  ],
  [
    'a restore accepted by the broker itself',
    also({ metadata: { annotations: { 'meshpass.dev/accept-restore': '2' } } }),
    NEXT,
    METADATA,
  ],
  ['a label on the checkpoint', also({ metadata: { labels: { team: 'x' } } }), NEXT, METADATA],
  ['a checkpoint that cannot be deleted', also({ metadata: { finalizers: ['meshpass.dev/never'] } }), NEXT, METADATA],
];
