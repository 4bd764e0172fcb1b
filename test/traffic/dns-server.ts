/**
 * A name server for one name with several addresses: `node dns-server.ts NAME ADDRESS...` answers on 127.0.0.1:53, in this order, and
 * says "listening". Of every other name it says that there is none.
 */
import { createSocket } from 'node:dgram';

const [name, ...addresses] = process.argv.slice(2);
const server = createSocket('udp4');
server.on('message', (query, from) => server.send(answer(query), from.port, from.address));
server.bind(53, '127.0.0.1', () => console.log('listening'));

/** RFC 1035 section 4.1. */
function answer(query: Buffer): Buffer {
  let at = 12;
  const labels: string[] = [];
  while (query[at]! > 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + query[at]!));
    at += 1 + query[at]!;
  }
  const question = query.subarray(12, at + 5);
  const isKnown = labels.join('.').toLowerCase() === name;
  const isA = query.readUInt16BE(at + 1) === 1;
  const records = isKnown && isA ? addresses.map(record) : [];
  const head = Buffer.from(query.subarray(0, 12));
  head.writeUInt16BE(isKnown ? 0x8580 : 0x8583, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(records.length, 6);
  head.writeUInt32BE(0, 8);
  return Buffer.concat([head, question, ...records]);
}

/** An A record of the name in the question. */
function record(address: string): Buffer {
  const fixed = Buffer.from('c00c000100010000003c0004', 'hex');
  return Buffer.concat([fixed, Buffer.from(address.split('.').map(Number))]);
}
