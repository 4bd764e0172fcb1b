/** All cases, in the order of the table. */
import type { Case } from './case.ts';
import { resilience } from './cases/resilience.ts';
import { routing } from './cases/routing.ts';
import { telemetryRules } from './cases/telemetry.ts';
import { visibility } from './cases/visibility.ts';

export const CASES: readonly Case[] = [...routing, ...resilience, ...visibility, ...telemetryRules];
