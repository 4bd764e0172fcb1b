/** Counts questions and unknown results, and records the first contradictions. */
export interface Contradiction {
  readonly round: number;
  readonly claim: string;
  readonly detail: unknown;
}

export class Tally {
  questions = 0;
  unknown = 0;
  allowed = 0;
  readonly contradictions: Contradiction[] = [];
  readonly byClaim = new Map<string, number>();

  /** Records one question: the evaluator's decision, and whether a command agrees. */
  ask(claim: string, round: number, agrees: boolean, allowed: boolean, detail: () => unknown): void {
    this.questions++;
    if (allowed) this.allowed++;
    this.byClaim.set(claim, (this.byClaim.get(claim) ?? 0) + 1);
    if (!agrees && this.contradictions.length < MOST) this.contradictions.push({ round, claim, detail: detail() });
  }

  /** Records a question that one of the two cannot answer. */
  skip(): void {
    this.questions++;
    this.unknown++;
  }

  summary(): string {
    const share = ((100 * this.unknown) / Math.max(1, this.questions)).toFixed(2);
    const claims = [...this.byClaim].map(([claim, count]) => `${claim} ${count}`).join(', ');
    return `${this.questions} questions, ${this.contradictions.length} contradictions, ${share} % unknown (${claims})`;
  }
}

const MOST = 20;
