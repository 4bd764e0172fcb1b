/** Reports early that the lab cannot run on this machine. */
import { LabError } from '../error.ts';

/** @throws LabError `lab_unsupported` with the missing parts */
export function requireMachine(): void {
  if (process.platform !== 'linux') {
    throw new LabError('lab_unsupported', 'The lab needs Linux (network namespaces); run it in a Linux VM.');
  }
  if (process.getuid?.() !== 0) {
    throw new LabError('lab_unsupported', 'The lab needs root (it makes network namespaces): run it with sudo.');
  }
  const envoyArch = process.arch === 'x64' || process.arch === 'arm64';
  if (!envoyArch)
    throw new LabError('lab_unsupported', `There is no Envoy package for ${process.arch}; use x64 or arm64.`);
}
