/** Answers to presence challenges on a port that serves nothing else. */
import { request } from 'node:http';
import { MeshpassError } from '@meshpass/identity';
import { describe, expect, it } from 'vitest';
import {
  type PresenceParameters,
  type SignableChallenge,
  startPresenceListener,
  withPresence,
} from '../src/session/presence.ts';

const path = `/${'p'.repeat(43)}`;
const challenge = { nonce: 'n'.repeat(43), path, expires_in: 60 };
const refusedWith = (code: MeshpassError['code'], members = {}) => new MeshpassError(code, code, { members });

function get(port: number, url: string, method = 'GET'): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, path: url, method, agent: false }, (response) => {
      let body = '';
      response.on('data', (part) => {
        body += part;
      });
      response.on('end', () => resolve({ status: response.statusCode!, body }));
    });
    sent.on('error', reject);
    sent.end();
  });
}

describe('the listener', () => {
  it('serves one answer once, on one path', async () => {
    const listener = await startPresenceListener(0);
    expect((await get(listener.port, path)).status).toBe(404);
    listener.expect(path, 'answer');
    for (const url of ['/', `${path}/`, `${path}?a`, `//x${path}`])
      expect(await get(listener.port, url)).toEqual({ status: 404, body: '' });
    expect((await get(listener.port, path, 'POST')).status).toBe(404);
    expect(await get(listener.port, path)).toEqual({ status: 200, body: 'answer' });
    expect((await get(listener.port, path)).status).toBe(404);
    listener.close();
    await expect(get(listener.port, path)).rejects.toThrow('ECONNREFUSED');
  });

  it("answers up to four nonces of the broker's choice if it offered that", async () => {
    const listener = await startPresenceListener(0);
    listener.offer((nonce) => `signed ${nonce}`);
    for (const url of ['/', `${path}p`, `${path}?a`, `//${'p'.repeat(42)}`, path.slice(0, -1)])
      expect((await get(listener.port, url)).status).toBe(404);
    expect((await get(listener.port, path, 'POST')).status).toBe(404);
    for (let n = 0; n < 4; n++)
      expect(await get(listener.port, path)).toEqual({ status: 200, body: `signed ${path.slice(1)}` });
    expect((await get(listener.port, path)).status).toBe(404);
    listener.offer(() => 'of the next exchange');
    expect((await get(listener.port, path)).body).toBe('of the next exchange');
    listener.close();
  });

  it('reports the setting to change if its port is in use', async () => {
    const first = await startPresenceListener(0);
    await expect(startPresenceListener(first.port)).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringContaining('--presence-port'),
    });
    first.close();
  });
});

describe('an exchange', () => {
  const sign = () => 'signed';

  it('is answered while it is in progress, but not before its proof exists', async () => {
    let port = 0;
    const asked: SignableChallenge[] = [];
    const exchange = async (answer?: PresenceParameters) => {
      port = answer!.port;
      expect(answer!.nonce).toBeUndefined();
      expect((await get(port, path)).status).toBe(404);
      answer!.onProof!('its DPoP proof');
      return (await get(port, path)).body;
    };
    const heard: number[] = [];
    const onChallenge = (at: number) => heard.push(at);
    const noted = (one: SignableChallenge) => {
      asked.push(one);
      return 'signed';
    };
    expect(await withPresence(exchange, { port: 0, sign: noted, onChallenge })).toBe('signed');
    expect(asked).toEqual([{ nonce: path.slice(1), path, expires_in: 60, dpop: 'its DPoP proof' }]);
    expect(heard).toEqual([port]);
    await expect(get(port, path)).rejects.toThrow('ECONNREFUSED');
  });

  it('does not mention presence if its port is in use, until it is challenged', async () => {
    const taken = await startPresenceListener(0);
    const seen: unknown[] = [];
    await withPresence(async (answer) => seen.push(answer), { port: taken.port, sign });
    expect(seen).toEqual([undefined]);
    const exchange = async () => {
      throw refusedWith('presence_required', { presence: challenge });
    };
    await expect(withPresence(exchange, { port: taken.port, sign })).rejects.toMatchObject({ code: 'config_invalid' });
    taken.close();
  });

  it('is repeated with nonce and port after a challenge, while the answer is available', async () => {
    let port = 0;
    const exchange = async (answer?: PresenceParameters) => {
      if (!answer?.nonce) throw refusedWith('presence_required', { presence: challenge });
      port = answer.port;
      expect(answer.nonce).toBe(challenge.nonce);
      return (await get(port, path)).body;
    };
    expect(await withPresence(exchange, { port: 0, sign })).toBe('signed');
    await expect(get(port, path)).rejects.toThrow('ECONNREFUSED');
  });

  it('is retried a few times on the same port until GitHub forwards it', async () => {
    const ports: number[] = [];
    const exchange = (fails: number) => async (answer?: PresenceParameters) => {
      if (!answer?.nonce) throw refusedWith('presence_required', { presence: challenge });
      ports.push(answer.port);
      if (ports.length <= fails) throw refusedWith('presence_unanswered');
      return 'in';
    };
    expect(await withPresence(exchange(2), { port: 0, sign, pause: 1 })).toBe('in');
    expect([ports.length, new Set(ports).size]).toEqual([3, 1]);
    ports.length = 0;
    await expect(withPresence(exchange(99), { port: 0, sign, pause: 1 })).rejects.toMatchObject({
      code: 'presence_unanswered',
    });
    expect(ports).toHaveLength(5);
    await expect(get(ports[0]!, path)).rejects.toThrow('ECONNREFUSED');
  });

  it('is repeated if GitHub does not forward its port yet and the broker sent no challenge', async () => {
    const ports: number[] = [];
    const exchange = async (answer?: PresenceParameters) => {
      ports.push(answer!.port);
      if (ports.length < 3) throw refusedWith('presence_unanswered');
      return 'in';
    };
    expect(await withPresence(exchange, { port: 0, sign, pause: 1 })).toBe('in');
    expect([ports.length, new Set(ports).size]).toEqual([3, 1]);
  });

  it('succeeds although another client of the port uses up its answers', async () => {
    const exchange = async (answer?: PresenceParameters) => {
      if (!answer) throw refusedWith('presence_required', { presence: challenge });
      answer.onProof?.('proof');
      for (let n = 0; n < 4; n++) await get(answer.port, `/${'A'.repeat(43)}`);
      const { status } = await get(answer.port, path);
      if (status !== 200) throw refusedWith('presence_unanswered');
      return answer.nonce;
    };
    expect(await withPresence(exchange, { port: 0, sign, pause: 1 })).toBe(challenge.nonce);
  });

  it.each(['presence_mismatch', 'presence_unreachable', 'access_none'] as const)(
    'is not retried after %s',
    async (code) => {
      let tries = 0;
      const exchange = async (answer?: PresenceParameters) => {
        if (!answer?.nonce) throw refusedWith('presence_required', { presence: challenge });
        tries++;
        throw refusedWith(code);
      };
      await expect(withPresence(exchange, { port: 0, sign, pause: 1 })).rejects.toMatchObject({ code });
      expect(tries).toBe(1);
    },
  );

  it('fails if the challenge in a refusal is invalid', async () => {
    const exchange = async () => {
      throw refusedWith('presence_required');
    };
    await expect(withPresence(exchange, { port: 0, sign })).rejects.toMatchObject({ code: 'presence_required' });
  });
});
