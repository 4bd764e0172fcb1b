/** A tunnel's stages, and how it ends if one takes too long. */
import { type ErrorCode, MeshpassError } from '@meshpass/identity';
import { gatewayUnreachable } from './refusal.ts';

export type Stage = 'handshake' | 'control' | 'warm' | 'head' | 'dial' | 'hello' | 'open' | 'refused' | 'gone';

export type Expiry =
  /** The client receives the error. */
  | { readonly how: 'answer'; readonly error: MeshpassError }
  /** The client cannot read a response yet, or no longer can. */
  | { readonly how: 'refuse'; readonly code: ErrorCode; readonly reason: string }
  /** The client sent no request, or the decision was already made. */
  | { readonly how: 'cut'; readonly code?: ErrorCode; readonly reason?: string };

/**
 * Selects how a tunnel ends whose stage has timed out.
 * @param halfClosed whether one side of an open tunnel has closed
 */
export function expiryOf(stage: Stage, halfClosed: boolean): Expiry {
  switch (stage) {
    case 'handshake':
      return { how: 'refuse', code: 'tunnel_handshake_timeout', reason: 'The TLS handshake took too long.' };
    case 'warm':
      return { how: 'cut', code: 'tunnel_idle' };
    case 'head':
      return {
        how: 'answer',
        error: new MeshpassError('tunnel_handshake_timeout', 'The CONNECT request took too long.'),
      };
    case 'dial':
      return { how: 'answer', error: gatewayUnreachable('no response in time') };
    case 'hello':
      return { how: 'refuse', code: 'tunnel_handshake_timeout', reason: 'The inner ClientHello took too long.' };
    case 'open':
      return {
        how: 'cut',
        code: 'tunnel_idle',
        reason: halfClosed
          ? 'one side has closed, and the tunnel was idle afterwards'
          : 'the tunnel reached its idle timeout',
      };
    case 'control': // handled by the hub
    case 'refused':
    case 'gone':
      return { how: 'cut' };
  }
}
