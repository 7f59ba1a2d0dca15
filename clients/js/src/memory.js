import { CONTAINER, FRAME, SOUND } from "./wire.js";

/** What has been given to a stream and may have to be sent again, in order.
 *
 * Each piece knows its place among those of its kind: bytes of a container, frames, or samples of
 * one channel. `next` is the first piece that this connection has not sent.
 */
export class Memory {
  #pieces = [];
  #next = 0;
  #bytes = 0;
  #given = placesOf();
  #forgotten = placesOf();
  #from = placesOf();

  /** sampleBytes: of one sample of all channels; mostBytes: that are kept. */
  constructor({ sampleBytes = 1, sampleRate = 1, mostBytes = Infinity } = {}) {
    this.sampleBytes = sampleBytes;
    this.sampleRate = sampleRate;
    this.mostBytes = mostBytes;
  }

  get bytes() {
    return this.#bytes;
  }

  /** Take in a piece; what outgrows the bound is forgotten from its oldest on, once it was sent. */
  add(kind, data, seconds) {
    const units = this.#unitsOf(kind, data);
    this.#pieces.push({ kind, data, seconds, at: this.#given[kind], units });
    this.#given[kind] += units;
    this.#bytes += data.byteLength;
    while (this.#bytes > this.mostBytes && this.#next > 0) this.#drop();
  }

  /** The next piece to send, if there is one. */
  take() {
    while (this.#next < this.#pieces.length) {
      const piece = this.#pieces[this.#next++];
      if (!isBefore(piece, this.#from)) return this.#cut(piece);
    }
    return undefined;
  }

  /** Forget what need never be sent again. */
  release(until) {
    const released = placesOf(until);
    while (this.#next > 0 && isBefore(this.#pieces[0], released)) this.#drop();
  }

  /** Begin again from here. Returns false if that has been forgotten.
   *
   * What comes before stays: another gateway may ask for it.
   */
  rewind(from) {
    const places = placesOf(from);
    if (Object.keys(places).some((kind) => places[kind] < this.#forgotten[kind])) return false;
    this.#from = places;
    this.#next = 0;
    return true;
  }

  #drop() {
    const piece = this.#pieces.shift();
    this.#forgotten[piece.kind] = piece.at + piece.units;
    this.#bytes -= piece.data.byteLength;
    this.#next -= 1;
  }

  /** The piece without what the gateway has of it. */
  #cut(piece) {
    const gone = this.#from[piece.kind] - piece.at;
    if (gone <= 0) return piece;
    const offset = gone * (piece.kind === SOUND ? this.sampleBytes : 1);
    const seconds = piece.seconds === undefined ? undefined : piece.seconds + gone / this.sampleRate;
    return { ...piece, data: piece.data.subarray(offset), seconds };
  }

  #unitsOf(kind, data) {
    if (kind === FRAME) return 1;
    if (kind === CONTAINER) return data.byteLength;
    if (data.byteLength % this.sampleBytes) throw new RangeError("sound comes in whole samples");
    return data.byteLength / this.sampleBytes;
  }
}

function isBefore(piece, places) {
  return piece.at + piece.units <= places[piece.kind];
}

function placesOf(position = {}) {
  return {
    [CONTAINER]: position.container_bytes ?? 0,
    [FRAME]: position.frames ?? 0,
    [SOUND]: position.audio_samples ?? 0,
  };
}
