/**
 * Certificates that the broker must not issue: by requests that prove no key, have a weak one, are no request, or ask for more than an identity
 * of the session's own; and certificates from istiod itself, by credentials of a session.
 */
import type { HostileArea } from '../area.ts';
import { ENCODINGS } from './encodings.ts';
import { KEYS } from './keys.ts';
import { NAMES } from './names.ts';
import { PLACES } from './places.ts';
import { type CsrWorld, closeCsr, openCsr } from './world.ts';

export const csr: HostileArea<CsrWorld> = {
  name: 'certificate requests, to broker and istiod',
  open: openCsr,
  close: closeCsr,
  inputs: [...KEYS, ...ENCODINGS, ...NAMES, ...PLACES],
};
