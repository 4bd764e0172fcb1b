/** What approvals are made of, and what they have to do with the rest of the broker. */
import type { Authorize } from '@meshpass/access';
import type { Attestation } from '@meshpass/identity';
import type { Losses } from '../attest/github/losses.ts';
import type { Changes, Outcome } from '../audit/log/decision.ts';
import type { ReadGithub } from '../github/reader.ts';
import type { MeshState } from '../reconcile/contract.ts';
import type { Live, LiveIndex } from '../session/live.ts';
import type { Decided } from '../session/widen.ts';
import type { Store } from '../store/open.ts';
import type { Book, BookContext } from './book.ts';
import type { WebhookKeys } from './webhook/keys.ts';

export interface ApprovalsContext extends Omit<BookContext, 'tell' | 'tellTakenBack' | 'stored'> {
  /** Secrets of webhooks. */
  readonly keys: WebhookKeys;
  readonly store: Store;
  readonly live: LiveIndex;
  readonly mesh: MeshState;
  readonly authorize: Authorize;
  readonly losses: Losses;
  /** Absent: GitHub cannot be asked, and no team approves. */
  readonly read?: ReadGithub | undefined;
  /** Gives a live session a grant until then, or as long as the access file gives it: `gain` in session/widen.ts. */
  readonly give: (live: Live, grant: string, gift: Gift) => Promise<Outcome<unknown>>;
  /** Takes it away again, at once. What the access file gives without an approval by now stays. */
  readonly take: (live: Live, grant: string, reason: string) => Promise<void>;
  readonly onFailure: (cause: unknown) => void;
}

/** Whoever answers, or reviews. */
export interface Approver {
  readonly attestation: Attestation;
  /** How the answer comes: `workspace`, `operator`, `page`, `webhook NAME`. */
  readonly via: string;
  /** Of a message that counts once. */
  readonly replay?: Changes['replay'];
}

export interface Gift {
  readonly cause: 'approved' | 'emergency';
  /** Unix seconds. */
  readonly until: number;
  readonly reason: string;
  readonly detail: Readonly<Record<string, unknown>>;
  readonly decided: (until: number) => Decided;
}

/** What the parts of this folder have in common. */
export interface Parts extends ApprovalsContext {
  readonly book: Book;
  /** One after the other with all that is taken in an emergency. */
  readonly inTurn: <T>(act: () => Promise<T>) => Promise<T>;
}
