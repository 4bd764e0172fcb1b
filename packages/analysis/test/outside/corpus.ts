/**
 * Corpus of migrations: a folder per case with `before.yaml` and `after.yaml`. Expected changes are marked on the deciding
 * line of the state that reaches the destination: `#! gains WITNESS` in `after.yaml`, `#! loses WITNESS` in `before.yaml`.
 * Cases named `good` are equivalent.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { loadManifests, type Resource } from '@meshpass/istio';

const HOME = new URL('./corpus/', import.meta.url);
const SERVICES = readFileSync(new URL('./services.yaml', import.meta.url), 'utf8');

export interface Migration {
  readonly name: string;
  readonly good: boolean;
  readonly before: readonly Resource[];
  readonly after: readonly Resource[];
  /** `FILE:LINE CHANGE WITNESS`, sorted. */
  readonly expected: readonly string[];
}

export const MIGRATIONS: readonly Migration[] = readdirSync(HOME)
  .filter((name) => !name.startsWith('ambient-'))
  .toSorted()
  .map((name) => {
    const [before, after] = ['before.yaml', 'after.yaml'].map((file) => ({
      file,
      text: readFileSync(new URL(`${name}/${file}`, HOME), 'utf8'),
    })) as [Side, Side];
    return {
      name,
      good: name.includes('-good-'),
      before: resourcesOf(before),
      after: resourcesOf(after),
      expected: [...markedIn(before), ...markedIn(after)].sort(),
    };
  });

interface Side {
  readonly file: string;
  readonly text: string;
}

function resourcesOf({ file, text }: Side): readonly Resource[] {
  const [services, routes] = [loadManifests(SERVICES, 'services.yaml'), loadManifests(text, file)];
  return [...services.resources, ...routes.resources];
}

function markedIn({ file, text }: Side): readonly string[] {
  return text.split('\n').flatMap((line, index) => {
    const marks = line.split(' #! ').slice(1);
    return marks.map((mark) => `${file}:${index + 1} ${mark.trim()}`);
  });
}
