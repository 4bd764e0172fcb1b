/** Signing keys and roots as text. */

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
      /** SHA-256 of the certificate, hex. */
      readonly sha256: string;
      readonly subject: string;
      readonly not_after: string;
      /** Number of live sessions' certificates under this root. */
      readonly certificates: number;
    }[];
    readonly other_certificates: number;
  };
}

type Key = Trust['signing_keys'][number];

/** Formats signing keys and roots. */
export function trustText({ signing_keys: keys, roots }: Trust): readonly string[] {
  return [
    'Token signing keys',
    ...keys.map((key) => `  ${key.kid}  ${part(key)}${key.in_mesh ? '' : ' (not yet in the mesh)'}`),
    '',
    'Mesh roots, with the number of live certificates under each',
    ...roots.trusted.map(
      ({ sha256, subject, not_after, certificates }) =>
        `  ${sha256.slice(0, 16)}  ${subject.replaceAll('\n', ', ')}, until ${not_after}: ${certificates}`,
    ),
    ...(roots.trusted.length === 0 ? ['  none known yet'] : []),
    ...(roots.other_certificates > 0
      ? [
          `  ${roots.other_certificates} more are under a root that is no longer trusted, or were signed before the broker started`,
        ]
      : []),
  ];
}

function part({ part, signs_from, until }: Key): string {
  switch (part) {
    case 'signing':
      return `signs since ${signs_from}${until === undefined ? '' : `, is rotated ${until}`}`;
    case 'next':
      return signs_from === undefined ? 'is next' : `is next, and signs from ${signs_from}`;
    case 'retired':
      return until === undefined ? 'is published, and no longer signs' : `no longer signs, and is removed ${until}`;
  }
}
