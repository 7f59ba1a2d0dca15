/** Results on their way to whoever iterates.
 *
 * A page cannot tell its WebSocket to wait. Beyond `most` the oldest provisional results go:
 * finals of the same frames follow anyway. A final result is never dropped.
 */
export class Inbox {
  #waiting = [];
  #readers = [];
  #isClosed = false;
  #error = null;

  constructor(most) {
    this.most = most;
  }

  put(message) {
    const reader = this.#readers.shift();
    if (reader) {
      reader.resolve({ value: message, done: false });
      return;
    }
    this.#waiting.push(message);
    if (this.#waiting.length > this.most) {
      const at = this.#waiting.findIndex((one) => one.type === "frame_result" && !one.is_final);
      if (at >= 0) this.#waiting.splice(at, 1);
    }
  }

  /** Nothing more comes. The error, if any, is met after everything that came before it. */
  close(error = null) {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#error = error;
    for (const reader of this.#readers.splice(0)) this.#finish(reader);
  }

  next() {
    if (this.#waiting.length) {
      return Promise.resolve({ value: this.#waiting.shift(), done: false });
    }
    return new Promise((resolve, reject) => {
      if (this.#isClosed) this.#finish({ resolve, reject });
      else this.#readers.push({ resolve, reject });
    });
  }

  #finish({ resolve, reject }) {
    const error = this.#error;
    this.#error = null; // told once
    if (error) reject(error);
    else resolve({ value: undefined, done: true });
  }
}
