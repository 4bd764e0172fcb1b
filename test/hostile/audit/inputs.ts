/** Tampering that the audit log must reveal: with the store, with checkpoints, with exported evidence. */
import type { HostileArea } from '../area.ts';
import { EVIDENCE } from './evidence.ts';
import { STARTS } from './starts.ts';
import { type AuditWorld, openAuditWorld } from './world.ts';

export const auditLog: HostileArea<AuditWorld> = {
  name: 'audit: log, checkpoints and evidence',
  open: openAuditWorld,
  close: (world) => world.end(),
  inputs: [...STARTS, ...EVIDENCE],
};
