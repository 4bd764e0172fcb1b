/** Validation of the agent's configuration before anything starts. */
import { expect, test } from 'vitest';
import { agentConfig } from '../../src/control/config.ts';

const broker = { broker: 'https://broker.example.com' };

test.each(['172.17.0.1', '10.88.0.1', '192.168.1.1'])('accepts %s as a bridge address', (bridgeAddress) => {
  expect(agentConfig({ ...broker, bridgeAddress }, {})).toMatchObject({ bridgeAddress });
});

test.each(['0.0.0.0', '127.0.0.1', '203.0.113.7', '172.32.0.1', '::', 'docker0', '172.17.0.1:80', '172.17.1'])(
  'refuses %s as a bridge address',
  (bridgeAddress) => {
    expect(() => agentConfig({ ...broker, bridgeAddress }, {})).toThrow(
      expect.objectContaining({ code: 'config_invalid', message: expect.stringContaining('private IPv4 address') }),
    );
  },
);

test('reads settings for which a command has no flag from the environment, unless an option is set', () => {
  const env = {
    MESHPASS_HOSTS_FILE: '/tmp/hosts',
    MESHPASS_BY_NAME: 'false',
    MESHPASS_CLUSTER_DOMAIN: 'mesh.example',
    MESHPASS_PRESENCE_PORT: '47000',
  };
  expect(agentConfig({ ...broker, clusterDomain: 'cluster.local' }, env)).toMatchObject({
    hostsFile: '/tmp/hosts',
    byName: false,
    presencePort: 47_000,
    clusterDomain: 'cluster.local',
  });
});

test('serves only this machine without a bridge address', () => {
  expect(agentConfig(broker, {}).bridgeAddress).toBeUndefined();
});
