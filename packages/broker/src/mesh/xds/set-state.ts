/** The versioned configuration for a set of grants. It is shared by all sessions that have exactly these grants. */
import { toBinary } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { checkConfiguration } from '@meshpass/envoy';
import { MeshpassError } from '@meshpass/identity';
import type { RelaySource } from './istiod/follow-grant.ts';
import type { GrantSetConfiguration } from './transform/merge.ts';

export interface VersionedConfiguration {
  readonly version: number;
  /** The JSON response body (`ConfigurationResponse` in identity/wire.ts). */
  readonly body: Buffer;
}

export type GrantSetState = ReturnType<typeof createGrantSetState>;

export interface GrantSetOptions {
  readonly grants: readonly string[];
  readonly source: Pick<RelaySource, 'trustDomain' | 'clusterDomain' | 'tokenHeader'>;
  /** Returns a new version, which is higher than all previous ones. */
  readonly nextVersion: () => number;
  /** Merges the configurations of the grants. Returns undefined while any of the configurations is missing. */
  readonly merge: () => GrantSetConfiguration | undefined;
  readonly onChange: () => void;
  readonly onFailure: (cause: unknown) => void;
}

/** Creates the state for a set of grants. It has no configuration until `refresh` is called. */
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
      // Report the failure only once, because the same content would always be rejected again.
      refused = body;
      const message = 'Agents would reject this configuration. The previous one stays in use.';
      throw new MeshpassError('internal', message, { detail: { grants, refusals: refusals.slice(0, 5) } });
    }
    current = { version: options.nextVersion(), body };
    options.onChange();
  };
  return {
    /** Returns the current configuration, or undefined until istiod has responded for every grant. */
    current: () => current,
    /** Recomputes the configuration after a grant has changed. The version only changes if the content does. */
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
