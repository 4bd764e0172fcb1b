/** Formats signing keys and mesh roots as text. */
import { formatTable } from '../output/table.ts';

export interface Trust {
  readonly signing_keys: readonly {
    readonly kid: string;
    readonly part: 'signing' | 'next' | 'retired';
    readonly in_mesh: boolean;
    readonly signs_from?: string;
    readonly until?: string;
  }[];
  readonly roots: {
    readonly trusted: readonly {
      /** The SHA-256 fingerprint of the certificate, in hex. */
      readonly sha256: string;
      readonly subject: string;
      readonly not_after: string;
      /** The number of certificates in live sessions that chain to this root. */
      readonly certificates: number;
    }[];
    readonly other_certificates: number;
  };
}

/** Formats the signing keys and the mesh roots. */
export function formatTrust({ signing_keys: keys, roots }: Trust): readonly string[] {
  const shown = roots.trusted.map((root) => ({ ...root, subject: root.subject.replaceAll('\n', ', ') }));
  return [
    'Token signing keys',
    ...formatTable(keys, ['kid', 'part', 'in_mesh', 'signs_from', 'until']),
    '',
    'Mesh roots, with the number of live certificates under each',
    ...formatTable(shown, ['sha256', 'subject', 'not_after', 'certificates']),
    `Certificates under other roots, or signed before the broker started: ${roots.other_certificates}`,
  ];
}
