/** The configuration of one set of grants, with its version: what every session that holds exactly these grants is given. */
import { createHash } from 'node:crypto';
import { toBinary } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { checkConfiguration } from '@meshpass/envoy';
import { MeshpassError } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import { pause } from '../clock/timers.ts';
import type { SetConfiguration } from './transform/merge.ts';
import type { Versions } from './versions.ts';

export interface Configured {
  readonly version: number;
  /** JSON of the answer (identity/wire.ts, ConfigurationResponse). */
  readonly body: Buffer;
}

export interface SetState {
  /** Undefined until istiod has answered for each of the grants. */
  readonly current: () => Configured | undefined;
  /** With a version above one that was given out for another set. @throws MeshpassError `store_unavailable` */
  readonly above: (version: number) => Promise<Configured | undefined>;
  /** Its grants have changed. */
  readonly refresh: () => void;
  readonly stop: () => void;
}

export interface SetOptions {
  readonly grants: readonly string[];
  readonly trustDomain: string;
  readonly clusterDomain: string;
  readonly versions: Versions;
  /** Undefined while one of the grants has none. */
  readonly merge: () => SetConfiguration | undefined;
  readonly onChange: () => void;
  readonly onFailure: (cause: unknown) => void;
}

const RETRY_MS = 1_000;

interface Current extends Configured {
  readonly digest: string;
  readonly content: SetConfiguration;
}

export function openSet(options: SetOptions): SetState {
  const { grants, versions } = options;
  const key = sha256Hex(grants.join(','));
  const stopping = new AbortController();
  let current: Current | undefined;
  let refused = '';
  let wanted = false;
  let running = false;

  const refreshOnce = async (): Promise<void> => {
    const content = options.merge();
    if (!content) return;
    const digest = digestOf(content);
    if (digest === current?.digest || digest === refused) return;
    const expected = { trustDomain: options.trustDomain, clusterDomain: options.clusterDomain, grants };
    const refusals = checkConfiguration({ version: 1, ...content }, expected);
    if (refusals.length > 0) {
      // Told once, and not tried again: the same content would be refused again.
      refused = digest;
      const detail = { grants, refusals: refusals.slice(0, 5) };
      const message = 'A configuration is not one that agents accept; the one before stays.';
      options.onFailure(new MeshpassError('internal', message, { detail }));
      return;
    }
    current = answer(content, digest, await versions.of(key, digest));
    options.onChange();
  };

  const run = async (): Promise<void> => {
    while (wanted && !stopping.signal.aborted) {
      wanted = false;
      try {
        await refreshOnce();
      } catch (thrown) {
        options.onFailure(thrown);
        wanted = true;
        await pause(RETRY_MS, stopping.signal);
      }
    }
    running = false;
  };

  return {
    current: () => current,
    above: async (version) => {
      if (!current || current.version >= version) return current;
      const { content, digest } = current;
      const next = await versions.above(key, digest, version);
      if (current.digest === digest && next > current.version) {
        current = answer(content, digest, next);
        options.onChange();
      }
      return current;
    },
    refresh: () => {
      wanted = true;
      if (running) return;
      running = true;
      void run();
    },
    stop: () => stopping.abort(),
  };
}

function answer(content: SetConfiguration, digest: string, version: number): Current {
  const base64 = (resources: SetConfiguration['listeners']) =>
    resources.map((any) => Buffer.from(toBinary(AnySchema, any)).toString('base64'));
  const body = {
    version,
    listeners: base64(content.listeners),
    clusters: base64(content.clusters),
    routes: base64(content.routes),
    left_out: content.leftOut,
  };
  return { version, digest, content, body: Buffer.from(JSON.stringify(body)) };
}

/** Of all that workspaces are told. */
function digestOf({ listeners, clusters, routes, leftOut }: SetConfiguration): string {
  const hash = createHash('sha256');
  for (const [kind, resources] of Object.entries({ listeners, clusters, routes }))
    for (const any of resources) hash.update(`${kind} ${any.value.length} ${any.typeUrl}\n`).update(any.value);
  return hash.update(JSON.stringify(leftOut)).digest('hex');
}
