/** Lists remarks about a linter run that are not findings. They are part of every output format. */

import type { Place } from '@meshpass/istio';
import type { LintedFiles } from '../lint.ts';
import type { Severity } from '../model.ts';
import { describeSettings } from '../settings/settings.ts';
import { describeUnreadKinds } from '../unread-kinds.ts';

export interface Remark {
  readonly id: string;
  readonly severity: Severity;
  readonly place?: Place;
  /** The text that follows the title. The title is derived from `id`. */
  readonly detail: string;
  readonly sentence: string;
}

/**
 * Lists the input that was not checked, and describes the effect of the settings, because the change under review may
 * also modify them.
 */
export function listRemarks({
  leftOut,
  settings,
  notLookedAt,
}: Pick<LintedFiles, 'leftOut' | 'settings' | 'notLookedAt'>): readonly Remark[] {
  const remarks: Remark[] = leftOut.map(({ path, why }) => ({
    id: 'left-out',
    severity: 'warning',
    place: { file: path, line: 0, column: 0 },
    detail: `${path}: ${why}`,
    sentence: `${path} was left out: ${why}.`,
  }));
  if (settings) {
    const detail = describeSettings(settings);
    const severity = settings.weakened.length + settings.removed.length > 0 ? 'warning' : 'note';
    const place = { file: settings.file, line: 1, column: 1 };
    remarks.push({ id: 'settings', severity, place, detail, sentence: `${detail}.` });
  }
  if (notLookedAt.length > 0) {
    const detail = describeUnreadKinds(notLookedAt);
    remarks.push({ id: 'not-looked-at', severity: 'note', detail, sentence: `No rule reads ${detail}.` });
  }
  return remarks;
}

/** Converts the ID of a remark to a title. */
export function remarkTitle({ id }: Remark): string {
  return id.replaceAll('-', ' ');
}
