/** The least that is a ClientHello with a server name. */
export function clientHello(sni: string): Buffer {
  const name = Buffer.from(sni);
  const entry = Buffer.concat([Buffer.from([0, 0, name.length]), name]);
  const list = Buffer.concat([Buffer.from([0, entry.length]), entry]);
  const extension = Buffer.concat([Buffer.from([0, 0, 0, list.length]), list]);
  const extensions = Buffer.concat([Buffer.from([0, extension.length]), extension]);
  const fixed = Buffer.concat([Buffer.from([3, 3]), Buffer.alloc(32), Buffer.from([0, 0, 2, 0x13, 1, 1, 0])]);
  const body = Buffer.concat([fixed, extensions]);
  const handshake = Buffer.concat([Buffer.from([1, 0, 0, body.length]), body]);
  return Buffer.concat([Buffer.from([22, 3, 1, 0, handshake.length]), handshake]);
}
