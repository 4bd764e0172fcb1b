/** Where something stands in a file: 1-based. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}
