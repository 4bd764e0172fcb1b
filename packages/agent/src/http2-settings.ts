/** SETTINGS of HTTP/2 (RFC 9113 section 6.5): ours, and how a server's are read. */
import { HTTP2_PREFACE } from './http2.ts';
import { FRAME, frame, numberFrame } from './http2-frame.ts';
import { STREAM_WINDOW } from './http2-stream.ts';

/** What a server may send on all streams: given back as it arrives, so that an owner that is slow holds up only itself. */
export const CONNECTION_WINDOW = 16_777_216;
export const DEFAULT_WINDOW = 65_535;
export const MAX_HEADER_LIST = 65_536;

export const SETTING = {
  tableSize: 0x1,
  enablePush: 0x2,
  maxStreams: 0x3,
  initialWindow: 0x4,
  maxHeaderList: 0x6,
} as const;

type Setting = readonly [id: number, value: number];

/** Bytes of one setting. */
const SIZE = 6;

/** What a client sends first (section 3.4): the preface, its settings, and the window of the connection. */
export function opening(): readonly Buffer[] {
  return [
    HTTP2_PREFACE,
    settingsFrame([
      [SETTING.enablePush, 0],
      [SETTING.initialWindow, STREAM_WINDOW],
      [SETTING.maxHeaderList, MAX_HEADER_LIST],
    ]),
    numberFrame(FRAME.windowUpdate, 0, CONNECTION_WINDOW - DEFAULT_WINDOW),
  ];
}

function settingsFrame(settings: readonly Setting[]): Buffer {
  const payload = Buffer.alloc(settings.length * SIZE);
  let at = 0;
  for (const [id, value] of settings) at = payload.writeUInt32BE(value, payload.writeUInt16BE(id, at));
  return frame(FRAME.settings, 0, 0, payload);
}

/** @param payload a whole number of settings */
export function* readSettings(payload: Buffer): Generator<Setting> {
  for (let at = 0; at < payload.length; at += SIZE) yield [payload.readUInt16BE(at), payload.readUInt32BE(at + 2)];
}
