/** The versioned configuration for a set of grants. It is shared by all sessions that have exactly these grants. */
import { toBinary } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { checkConfiguration } from '@meshpass/envoy';
import { MeshpassError } from '@meshpass/identity';
import type { GrantSetConfiguration } from './transform/merge.ts';

export interface VersionedConfiguration {
  readonly version: number;
  /** The JSON response body (`ConfigurationResponse` in identity/wire.ts). */
  readonly body: Buffer;
}

export type GrantSetState = ReturnType<typeof createGrantSetState>;

/** Creates the state for a set of grants. It has no configuration until `update` is called. */
export function createGrantSetState(expected: Parameters<typeof checkConfiguration>[1], nextVersion: () => number) {
  let current: VersionedConfiguration | undefined;
  let refused: Buffer | undefined;
  return {
    /** Returns the current configuration, or undefined until there has been a valid one. */
    current: () => current,
    /**
     * Replaces the configuration. The version only changes if the content does.
     * @returns whether the content has changed
     * @throws MeshpassError `internal` if agents would reject the content. This is reported only once, because the same
     *   content would always be rejected again.
     */
    update: (content: GrantSetConfiguration): boolean => {
      const body = bodyOf(content);
      if (current?.body.equals(body) || refused?.equals(body)) return false;
      const refusals = checkConfiguration({ version: 1, ...content }, expected);
      if (refusals.length > 0) {
        refused = body;
        const message = 'Agents would reject this configuration. The previous one stays in use.';
        const { grants } = expected;
        throw new MeshpassError('internal', message, { detail: { grants, refusals: refusals.slice(0, 5) } });
      }
      current = { version: nextVersion(), body };
      return true;
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
