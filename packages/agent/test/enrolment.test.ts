import { describe, expect, test } from 'vitest';
import { service } from './harness.ts';
import type { TestBroker } from './test-broker.ts';
import { surroundingsOfAgent, world } from './world.ts';

describe('a broker that issues everything at once', () => {
  test('receives a single request, over one connection, before the first request to a service', async () => {
    const { agent, broker } = await world({ adjust: atOnce });
    const { session, credentials, configuration } = await agent.status();
    expect(credentials.svids.map(({ grant }) => grant)).toEqual(session.grants);
    expect(configuration.version).toBe(broker.configurationVersion);
    expect(broker.calls.slice(0, 1)).toEqual(['POST /token']);
    expect(broker.calls).not.toContain('GET /session/configuration');
    expect(broker.connections).toBe(1);
  });

  test('receives requests for certificates that its response lacked', async () => {
    const services = Array.from({ length: 6 }, (_, at) =>
      service({
        grant: `grant-${at}`,
        host: `svc-${at}.shop.svc.cluster.local`,
        address: `127.64.7.${at + 1}`,
        aliases: [`svc-${at}.shop.svc`, `svc-${at}.shop`],
      }),
    );
    const { agent, broker } = await world({ services, adjust: atOnce });
    const { session, credentials } = await agent.status();
    expect(session.grants).toHaveLength(6);
    expect(credentials.svids.map(({ grant }) => grant)).toEqual(session.grants);
    expect(broker.calls.filter((call) => call !== 'GET /session/configuration')).toEqual([
      'POST /token',
      'POST /certificates',
    ]);
  });

  test('cannot make the agent accept a certificate for another key', async () => {
    const parts = await surroundingsOfAgent({ adjust: atOnce });
    parts.broker.tamper = (call, answer) => {
      if (call !== 'POST /token' || !answer.json?.certificates) return;
      answer.json.certificates[0].chain = answer.json.mesh.roots[0];
    };
    await expect(parts.start()).rejects.toMatchObject({ code: 'agent_broker_answer_invalid' });
  });
});

function atOnce(broker: TestBroker): void {
  broker.atOnce = true;
}
