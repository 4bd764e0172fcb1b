/** Versioned configuration for a set of grants. All sessions with exactly these grants share it. */
import { toBinary } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { checkConfiguration } from '@meshpass/envoy';
import { MeshpassError } from '@meshpass/identity';
import type { RelaySource } from './istiod/follow-grant.ts';
import type { GrantSetConfiguration } from './transform/merge.ts';

export interface VersionedConfiguration {
  readonly version: number;
  /** JSON response body (identity/wire.ts, ConfigurationResponse). */
  readonly body: Buffer;
}

export type GrantSetState = ReturnType<typeof createGrantSetState>;

export interface GrantSetOptions {
  readonly grants: readonly string[];
  readonly source: Pick<RelaySource, 'trustDomain' | 'clusterDomain' | 'tokenHeader'>;
  /** Returns a higher version on each call. */
  readonly nextVersion: () => number;
  /** Merges the configurations of the grants. Returns undefined while any of them is missing. */
  readonly merge: () => GrantSetConfiguration | undefined;
  readonly onChange: () => void;
  readonly onFailure: (cause: unknown) => void;
}

/** Creates the state, which does not have a configuration yet. */
export function createGrantSetState(options: GrantSetOptions) {
  const { grants, source } = options;
  let current: VersionedConfiguration | undefined;
  let refused: Buffer | undefined;

  const refresh = () => {
    const content = options.merge();
    if (!content) return;
    const body = bodyOf(content);
    if (current?.body.equals(body) || refused?.equals(body)) return;
    const refusals = checkConfiguration({ version: 1, ...content }, { ...source, grants });
    if (refusals.length > 0) {
      // The failure is reported only once, because the same content would be refused again.
      refused = body;
      const message = 'Agents would reject this configuration. The previous one stays in use.';
      throw new MeshpassError('internal', message, { detail: { grants, refusals: refusals.slice(0, 5) } });
    }
    current = { version: options.nextVersion(), body };
    options.onChange();
  };
  return {
    /** Returns the current configuration. Undefined until istiod has responded for every grant. */
    current: () => current,
    /** Recomputes the configuration after a grant has changed. If the content is equal, the version does not change. */
    refresh: () => {
      try {
        refresh();
      } catch (thrown) {
        options.onFailure(thrown);
      }
    },
  };
}

function bodyOf(content: GrantSetConfiguration): Buffer {
  const base64 = (resources: GrantSetConfiguration['listeners']) =>
    resources.map((any) => Buffer.from(toBinary(AnySchema, any)).toString('base64'));
  const body = {
    listeners: base64(content.listeners),
    clusters: base64(content.clusters),
    routes: base64(content.routes),
    left_out: content.leftOut,
  };
  return Buffer.from(JSON.stringify(body));
}
