import { AUDIO, CONTAINER, FRAME } from "./wire.js";

/** Media that may have to be sent again, in order.
 *
 * Each chunk has a position among those of its kind, in units: bytes of a container, frames, or
 * samples of one channel. `#next` is the index of the first chunk that this connection has not
 * sent.
 */
export class ReplayBuffer {
  #chunks = [];
  #next = 0;
  #bytes = 0;
  #added = toPositions();
  #dropped = toPositions();
  #resumeFrom = toPositions();

  /** sampleBytes: bytes of one sample of all channels; maxBytes: limit of the buffered media. */
  constructor({ sampleBytes = 1, sampleRate = 1, maxBytes = Infinity } = {}) {
    this.sampleBytes = sampleBytes;
    this.sampleRate = sampleRate;
    this.maxBytes = maxBytes;
  }

  get bytes() {
    return this.#bytes;
  }

  /** Append a chunk; beyond the limit the oldest chunks that were sent are dropped. */
  add(kind, data, seconds) {
    const units = this.#countUnits(kind, data);
    this.#chunks.push({ kind, data, seconds, start: this.#added[kind], units });
    this.#added[kind] += units;
    this.#bytes += data.byteLength;
    while (this.#bytes > this.maxBytes && this.#next > 0) this.#dropOldest();
  }

  /** Return the next chunk to send, or undefined. */
  nextUnsent() {
    while (this.#next < this.#chunks.length) {
      const chunk = this.#chunks[this.#next++];
      if (!endsBefore(chunk, this.#resumeFrom)) return this.#dropStart(chunk);
    }
    return undefined;
  }

  /** Drop the chunks before a position that the gateway has released. */
  release(until) {
    const released = toPositions(until);
    while (this.#next > 0 && endsBefore(this.#chunks[0], released)) this.#dropOldest();
  }

  /** Send again from a position. Returns false if media after it have been dropped.
   *
   * Chunks before the position stay: another gateway may ask for them.
   */
  rewind(from) {
    const positions = toPositions(from);
    if (Object.keys(positions).some((kind) => positions[kind] < this.#dropped[kind])) return false;
    this.#resumeFrom = positions;
    this.#next = 0;
    return true;
  }

  #dropOldest() {
    const chunk = this.#chunks.shift();
    this.#dropped[chunk.kind] = chunk.start + chunk.units;
    this.#bytes -= chunk.data.byteLength;
    this.#next -= 1;
  }

  /** Remove the part of a chunk that the gateway already has. */
  #dropStart(chunk) {
    const skippedUnits = this.#resumeFrom[chunk.kind] - chunk.start;
    if (skippedUnits <= 0) return chunk;
    const offset = skippedUnits * (chunk.kind === AUDIO ? this.sampleBytes : 1);
    const seconds = chunk.seconds === undefined
      ? undefined : chunk.seconds + skippedUnits / this.sampleRate;
    return { ...chunk, data: chunk.data.subarray(offset), seconds };
  }

  #countUnits(kind, data) {
    if (kind === FRAME) return 1;
    if (kind === CONTAINER) return data.byteLength;
    if (data.byteLength % this.sampleBytes) throw new RangeError("audio comes in whole samples");
    return data.byteLength / this.sampleBytes;
  }
}

function endsBefore(chunk, positions) {
  return chunk.start + chunk.units <= positions[chunk.kind];
}

function toPositions(position = {}) {
  return {
    [CONTAINER]: position.container_bytes ?? 0,
    [FRAME]: position.frames ?? 0,
    [AUDIO]: position.audio_samples ?? 0,
  };
}
