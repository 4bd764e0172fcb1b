/** Kubernetes' answers to a write, told apart: those that a second attempt may change, and those that it will not. */
import { MeshpassError } from '@meshpass/identity';

/**
 * What to tell whoever asked for the write, where Kubernetes has answered and will answer the same again.
 * @returns undefined where trying again may help
 */
export function finalRefusal(error: MeshpassError): MeshpassError | undefined {
  if (!isFinal(error)) return undefined;
  const { method, path, message } = error.detail;
  const said = String(message).split('\n')[0]!.slice(0, 300);
  return new MeshpassError(error.code, `Kubernetes refused ${method} ${path}: ${said}`, { cause: error });
}

function isFinal({ code, detail }: MeshpassError): boolean {
  const status = Number(detail.status ?? 0);
  // A namespace that ended after the cluster was looked at: the next look will not have it.
  if (status === 403 && String(detail.message).includes('because it is being terminated')) return false;
  return code === 'kubernetes_unavailable' && status >= 400 && status < 500 && ![408, 409, 429].includes(status);
}
