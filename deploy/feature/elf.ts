/** Reads a Linux program's requirements on the system's libraries, from its ELF file (System V ABI, and the Linux Standard Base for versions). */
import { readFileSync } from 'node:fs';

export interface Needs {
  /** The newest version of glibc that a symbol is bound to, as `2.28`. */
  readonly glibc: string;
  /** Names of shared libraries, as `libstdc++.so.6`. */
  readonly libraries: readonly string[];
}

interface Section {
  readonly type: number;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
}

const SHT_DYNAMIC = 6;
const SHT_GNU_VERNEED = 0x6ffffffe;
const DT_NEEDED = 1;
const GLIBC = /^GLIBC_(2\.[0-9]+)(?:\.[0-9]+)?$/;

/** @throws Error for a file that is no 64-bit little-endian ELF file linked to glibc */
export function needsOf(path: string): Needs {
  const file = readFileSync(path);
  if (file.readUInt32BE(0) !== 0x7f454c46 || file[4] !== 2 || file[5] !== 1)
    throw new Error(`${path} is not a 64-bit little-endian ELF file`);
  const sections = sectionsOf(file);
  const versions = sections
    .filter(({ type }) => type === SHT_GNU_VERNEED)
    .flatMap((section) => [...versionsIn(file, section, sections[section.link]!)]);
  const minors = versions.flatMap((version) => GLIBC.exec(version)?.[1]?.slice('2.'.length) ?? []).map(Number);
  if (minors.length === 0) throw new Error(`${path} does not specify which glibc it requires`);
  const libraries = sections
    .filter(({ type }) => type === SHT_DYNAMIC)
    .flatMap((section) => [...librariesIn(file, section, sections[section.link]!)]);
  return { glibc: `2.${Math.max(...minors)}`, libraries };
}

function sectionsOf(file: Buffer): readonly Section[] {
  const table = Number(file.readBigUInt64LE(40));
  const [entrySize, count] = [file.readUInt16LE(58), file.readUInt16LE(60)];
  return Array.from({ length: count }, (_, index) => {
    const at = table + index * entrySize;
    return {
      type: file.readUInt32LE(at + 4),
      offset: Number(file.readBigUInt64LE(at + 24)),
      size: Number(file.readBigUInt64LE(at + 32)),
      link: file.readUInt32LE(at + 40),
    };
  });
}

/** Elf64_Verneed, each with its Elf64_Vernaux. */
function* versionsIn(file: Buffer, section: Section, names: Section): Generator<string> {
  for (let at = section.offset; ; ) {
    const count = file.readUInt16LE(at + 2);
    let auxiliary = at + file.readUInt32LE(at + 8);
    for (let index = 0; index < count; index++) {
      yield nameAt(file, names, file.readUInt32LE(auxiliary + 8));
      auxiliary += file.readUInt32LE(auxiliary + 12);
    }
    const next = file.readUInt32LE(at + 12);
    if (next === 0) return;
    at += next;
  }
}

function* librariesIn(file: Buffer, section: Section, names: Section): Generator<string> {
  for (let at = section.offset; at < section.offset + section.size; at += 16)
    if (Number(file.readBigUInt64LE(at)) === DT_NEEDED) yield nameAt(file, names, Number(file.readBigUInt64LE(at + 8)));
}

function nameAt(file: Buffer, names: Section, offset: number): string {
  const start = names.offset + offset;
  return file.toString('latin1', start, file.indexOf(0, start));
}
