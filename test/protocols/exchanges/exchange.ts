/** A complete use of one protocol. @param authority `HOST:PORT`. @returns what came of it, in words that can be compared */
export type Exchange = (authority: string) => Promise<string>;
