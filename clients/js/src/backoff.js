const FIRST_SECONDS = 0.25;
const LONGEST_SECONDS = 10;

/** How long to wait before the next try: twice as long each time, spread so that not all of many
 * clients come at once. */
export class Backoff {
  #tries = 0;

  seconds(atLeast = 0) {
    const most = Math.min(FIRST_SECONDS * 2 ** this.#tries, LONGEST_SECONDS);
    this.#tries += 1;
    return Math.max(atLeast, most * (0.5 + Math.random() / 2));
  }

  reset() {
    this.#tries = 0;
  }
}
