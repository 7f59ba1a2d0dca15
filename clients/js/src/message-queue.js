/** Queue of results, read by an async iterator.
 *
 * A page cannot pause its WebSocket. Beyond `maxMessages` the oldest provisional results are
 * dropped: finals of the same frames follow. A final result is never dropped.
 */
export class MessageQueue {
  #messages = [];
  #readers = [];
  #isClosed = false;
  #error = null;

  constructor(maxMessages) {
    this.maxMessages = maxMessages;
  }

  push(message) {
    const reader = this.#readers.shift();
    if (reader) {
      reader.resolve({ value: message, done: false });
      return;
    }
    this.#messages.push(message);
    if (this.#messages.length > this.maxMessages) {
      const index = this.#messages.findIndex(
        (queued) => queued.type === "frame_result" && !queued.is_final,
      );
      if (index >= 0) this.#messages.splice(index, 1);
    }
  }

  /** Close the queue. An error is thrown to the reader after the messages before it. */
  close(error = null) {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#error = error;
    for (const reader of this.#readers.splice(0)) this.#settleReader(reader);
  }

  next() {
    if (this.#messages.length) {
      return Promise.resolve({ value: this.#messages.shift(), done: false });
    }
    return new Promise((resolve, reject) => {
      if (this.#isClosed) this.#settleReader({ resolve, reject });
      else this.#readers.push({ resolve, reject });
    });
  }

  #settleReader({ resolve, reject }) {
    const error = this.#error;
    this.#error = null; // thrown once
    if (error) reject(error);
    else resolve({ value: undefined, done: true });
  }
}
