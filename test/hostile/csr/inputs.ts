/**
 * Certificates that nobody must get: by requests that prove no key, hold a weak one, are no request, or ask for more than an identity
 * of the session's own; and from istiod itself, with what a session holds.
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
