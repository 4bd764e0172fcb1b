/** What tokens and certificates rest on, for people. */

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
      /** Of live sessions that end in it. */
      readonly certificates: number;
    }[];
    readonly other_certificates: number;
  };
}

type Key = Trust['signing_keys'][number];

export function trustText({ signing_keys: keys, roots }: Trust): string {
  return [
    'Keys of tokens',
    ...keys.map((key) => `  ${key.kid}  ${part(key)}${key.in_mesh ? '' : ' (the mesh does not have it yet)'}`),
    '',
    'Roots of the mesh, and certificates of live sessions that end in them',
    ...roots.trusted.map(
      ({ sha256, subject, not_after, certificates }) =>
        `  ${sha256.slice(0, 16)}  ${printable(subject.replaceAll('\n', ', '))}, until ${not_after}: ${certificates}`,
    ),
    ...(roots.trusted.length === 0 ? ['  none is known yet'] : []),
    ...(roots.other_certificates > 0
      ? [
          `  ${roots.other_certificates} more end in a root that is trusted no more, or were signed before the broker started`,
        ]
      : []),
  ].join('\n');
}

function part({ part, signs_from, until }: Key): string {
  switch (part) {
    case 'signing':
      return `signs since ${signs_from}${until === undefined ? '' : `, is changed ${until}`}`;
    case 'next':
      return signs_from === undefined ? 'is the next one' : `is the next one, and signs from ${signs_from}`;
    case 'retired':
      return until === undefined ? 'is published, and signs no more' : `signs no more, and goes ${until}`;
  }
}

/** Names in certificates are not ours: nothing of them may move the cursor. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '?');
}
