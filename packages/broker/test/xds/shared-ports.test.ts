import type { JsonObject } from '@bufbuild/protobuf';
import { checkConfiguration } from '@meshpass/envoy';
import { describe, expect, it } from 'vitest';
import { grantConfiguration } from '../../src/mesh/xds/transform/grant-configuration.ts';
import type { AllowedOperations } from '../../src/mesh/xds/transform/granted.ts';
import { mergeGrants } from '../../src/mesh/xds/transform/merge.ts';
import { ALL, at, EXPECTED, find, grant, istiodAnswers, jsonOf, managerOf, rawOf } from './istiod-answers.ts';

describe('two grants that hold the same port', () => {
  const set = (dev: AllowedOperations, sre: AllowedOperations) =>
    mergeGrants(
      Object.entries({ dev, sre }).map(([name, allowed]) => {
        const services = ALL.map((service) => ({ ...service, ...allowed }));
        return grantConfiguration(rawOf(istiodAnswers()), grant(services, name));
      }),
    );

  it('share a listener, which passes the check of the agent', () => {
    const merged = set({ allow: [{ method: 'GET', path: '/orders/*' }] }, {});
    expect(checkConfiguration({ version: 1, ...merged }, EXPECTED)).toEqual([]);
    const shared = find(merged.listeners, 'dev/shared/127.64.0.1_8080');
    expect(shared.address).toEqual({ socket_address: { address: '127.64.0.1', port_value: 8080 } });
    for (const grantName of ['dev', 'sre']) {
      expect(find(merged.listeners, `${grantName}/inner/127.64.0.1_8080`)).toHaveProperty('internal_listener');
      const cluster = find(merged.clusters, `${grantName}/shared/127.64.0.1_8080`);
      expect(JSON.stringify(cluster.load_assignment)).toContain(
        `"server_listener_name":"${grantName}/inner/127.64.0.1_8080"`,
      );
    }
  });

  it('send a request to the first grant that allows it, and otherwise to the first of all', () => {
    const merged = set({ allow: [{ method: 'GET', path: '/orders/*' }] }, { allow: [{ method: '*', path: '/*' }] });
    const hosts = at(
      managerOf(find(merged.listeners, 'dev/shared/127.64.0.1_8080')),
      'route_config',
      'virtual_hosts',
      0,
    );
    expect((hosts.routes as JsonObject[]).map((one) => at(one, 'route').cluster)).toEqual([
      'dev/shared/127.64.0.1_8080',
      'sre/shared/127.64.0.1_8080',
      'dev/shared/127.64.0.1_8080',
    ]);
  });

  it("use no name that the port's listener has while one grant holds it: Envoy rebinds its address only after a removal", () => {
    const names = (merged: ReturnType<typeof set>) => merged.listeners.map((any) => String(jsonOf(any).name));
    const alone = ['dev', 'sre'].map((name) =>
      names(mergeGrants([grantConfiguration(rawOf(istiodAnswers()), grant(ALL, name))])),
    );
    const together = names(set({}, {})).filter((name) => name.includes('127.64.0.1_8080'));
    expect(together).toHaveLength(3);
    for (const name of together) expect(alone.flat()).not.toContain(name);
  });

  it('leave a TCP port to the first', () => {
    const names = set({}, {}).listeners.map((any) => jsonOf(any).name);
    expect(names).toContain('dev/127.64.0.2_5432');
    expect(names).not.toContain('sre/127.64.0.2_5432');
  });
});
