const INITIAL_SECONDS = 0.25;
const MAX_SECONDS = 10;

/** Exponential backoff with jitter: delays double up to a maximum. */
export class Backoff {
  #attempts = 0;

  nextDelaySeconds(minSeconds = 0) {
    const maxSeconds = Math.min(INITIAL_SECONDS * 2 ** this.#attempts, MAX_SECONDS);
    this.#attempts += 1;
    return Math.max(minSeconds, maxSeconds * (0.5 + Math.random() / 2));
  }

  reset() {
    this.#attempts = 0;
  }
}
