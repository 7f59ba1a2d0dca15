/** Messages as /v1/live speaks them; docs/live.md is the contract. */

export const CONTAINER = 1;
export const FRAME = 2;
export const SOUND = 3;
const HEADER_BYTES = 9;

/** 64-bit numbers, which JSON carries as text; none of ours outgrows 2^53. */
const WHOLE = new Set([
  "index", "next_final_index", "first_index", "count", "frames", "frames_dropped",
  "container_bytes", "audio_samples", "message_bytes", "frame_pixels",
]);

/** What the gateway says: `{ type, ...fields }`, `type` being the message's name in the .proto. */
export function readResponse(text) {
  const told = JSON.parse(text, (name, value) =>
    WHOLE.has(name) && typeof value === "string" ? Number(value) : value);
  const [[type, fields]] = Object.entries(told);
  return { type, ...fields };
}

export function writeConfig(config, resumeToken) {
  return JSON.stringify({ config: resumeToken ? { ...config, resume_token: resumeToken } : config });
}

export const END = JSON.stringify({ end: {} });

/** A binary message. `seconds` is of frames and of sound; undefined: follows on. */
export function writeMedia({ kind, data, seconds }) {
  const header = kind === CONTAINER ? 1 : HEADER_BYTES;
  const message = new Uint8Array(header + data.byteLength);
  message[0] = kind;
  if (header > 1) new DataView(message.buffer).setFloat64(1, seconds ?? NaN, true);
  message.set(data, header);
  return message;
}

/** The bytes of whatever holds bytes. */
export async function bytesOf(data) {
  if (typeof Blob !== "undefined" && data instanceof Blob) {
    return new Uint8Array(await data.arrayBuffer());
  }
  if (ArrayBuffer.isView(data)) {
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
  }
  if (data instanceof ArrayBuffer) return new Uint8Array(data.slice(0));
  throw new TypeError("media are a Blob, an ArrayBuffer or a typed array");
}

/** Samples in [-1, 1] as the stream's config says that they come. */
export function samplesAs(encoding, samples) {
  if (encoding !== "SAMPLE_ENCODING_S16LE" || !(samples instanceof Float32Array)) return samples;
  const whole = new Int16Array(samples.length);
  for (let at = 0; at < samples.length; at += 1) {
    whole[at] = Math.round(Math.max(-1, Math.min(1, samples[at])) * 32767);
  }
  return whole;
}
