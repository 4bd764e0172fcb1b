/** The Secret of which the broker replaces one entry: its other entries changed, or the Secret of no use any more. */
import { SECRET } from './honest.ts';
import type { Row } from './identities.ts';
import { changed, get, merge, pathOf, post, type Request, remove } from './requests.ts';

const encoded = Buffer.from('a signing key').toString('base64');
const also = (body: object): Request => merge(SECRET, { data: { 'signing-key.pem': encoded }, ...body });
const beside = (data: object) => also({ data: { 'signing-key.pem': encoded, ...data } });

const NEXT = also({});
const NOTHING_ELSE = 'the broker changes nothing of its Secret but signing-key.pem';
const METADATA = 'the broker changes no metadata of its Secret';
const owner = {
  apiVersion: 'v1',
  kind: 'ConfigMap',
  name: 'not-there',
  uid: '00000000-0000-0000-0000-000000000001',
};

export const SIGNING_KEYS: readonly Row[] = [
  ['a key of the audit log of its own', beside({ 'audit-key.pem': encoded }), NEXT, NOTHING_ELSE],
  ['the key of the audit log taken away', beside({ 'audit-key.pem': null }), NEXT, NOTHING_ELSE],
  ['a break-glass token of its own', beside({ 'operator-token': encoded }), NEXT, NOTHING_ELSE],
  ['the signing key taken away', beside({ 'signing-key.pem': null }), NEXT, NOTHING_ELSE],
  ['all keys taken away', also({ data: null }), NEXT, NOTHING_ELSE],
  ['keys that are immutable', also({ immutable: true }), NEXT, METADATA],
  ['keys deleted by an owner that is not there', also({ metadata: { ownerReferences: [owner] } }), NEXT, METADATA],
  ['keys that cannot be deleted', also({ metadata: { finalizers: ['meshpass.dev/never'] } }), NEXT, METADATA],
  ['a label on the keys', also({ metadata: { labels: { team: 'x' } } }), NEXT, METADATA],
  ['the keys deleted', remove(SECRET), NEXT, 'cannot delete resource'],
  ['a Secret made', post(changed(SECRET, 'metadata name', 'of-its-own')), NEXT, 'cannot create resource'],
  [
    'another Secret read',
    get(pathOf(changed(SECRET, 'metadata name', 'meshpass-github'))),
    NEXT,
    'cannot get resource',
  ],
];
