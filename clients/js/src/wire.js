/** Encoding of the messages of /v1/live; docs/reference/websocket.md describes the protocol. */

export const CONTAINER = 1;
export const FRAME = 2;
export const AUDIO = 3;
const HEADER_BYTES = 9;

/** 64-bit fields, which are strings in JSON; their values stay below 2^53. */
const INT64_FIELDS = new Set([
  "index", "next_final_index", "first_index", "count", "frames", "frames_dropped",
  "container_bytes", "audio_samples", "message_bytes", "frame_pixels",
]);

/** Parse a message: `{ type, ...fields }`, where `type` is the message's name in the .proto. */
export function parseResponse(text) {
  const message = JSON.parse(text, (name, value) =>
    INT64_FIELDS.has(name) && typeof value === "string" ? Number(value) : value);
  const [[type, fields]] = Object.entries(message);
  return { type, ...fields };
}

/** Encode the first message of a connection. */
export function encodeConfig(config, resumeToken) {
  return JSON.stringify({ config: resumeToken ? { ...config, resume_token: resumeToken } : config });
}

export const END_MESSAGE = JSON.stringify({ end: {} });

/** Encode a chunk. `seconds`: time of a frame or of audio; undefined: continues the last audio. */
export function encodeMedia({ kind, data, seconds }) {
  const header = kind === CONTAINER ? 1 : HEADER_BYTES;
  const message = new Uint8Array(header + data.byteLength);
  message[0] = kind;
  if (header > 1) new DataView(message.buffer).setFloat64(1, seconds ?? NaN, true);
  message.set(data, header);
  return message;
}

/** Copy the bytes of a Blob, an ArrayBuffer or a typed array. */
export async function toBytes(data) {
  if (typeof Blob !== "undefined" && data instanceof Blob) {
    return new Uint8Array(await data.arrayBuffer());
  }
  if (ArrayBuffer.isView(data)) {
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
  }
  if (data instanceof ArrayBuffer) return new Uint8Array(data.slice(0));
  throw new TypeError("media are a Blob, an ArrayBuffer or a typed array");
}

/** Convert float samples in [-1, 1] to the stream's sample encoding. */
export function convertSamples(encoding, samples) {
  if (encoding !== "SAMPLE_ENCODING_S16LE" || !(samples instanceof Float32Array)) return samples;
  const int16Samples = new Int16Array(samples.length);
  for (let index = 0; index < samples.length; index += 1) {
    int16Samples[index] = Math.round(Math.max(-1, Math.min(1, samples[index])) * 32767);
  }
  return int16Samples;
}
