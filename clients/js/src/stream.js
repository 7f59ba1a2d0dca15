import { Backoff } from "./backoff.js";
import { LiveError, errorOfClose } from "./errors.js";
import { Inbox } from "./inbox.js";
import { Memory } from "./memory.js";
import {
  CONTAINER, END, FRAME, SOUND, bytesOf, readResponse, samplesAs, writeConfig, writeMedia,
} from "./wire.js";

const PROTOCOL = "circumplex.v1";
/** What may lie in the socket before the next piece is given to it. */
const BUFFERED_BYTES = 2 ** 20;
const LOOK_MILLISECONDS = 10;
const OPEN = 1;

const DEFAULTS = {
  key: null,
  reconnectSeconds: 60,
  mostKeptBytes: 256 * 2 ** 20,
  mostWaiting: 1024,
};

/** Open a stream; `config` is the StreamConfig of the contract. */
export function annotate(url, config, options = {}) {
  return new LiveStream(url, config, options);
}

/** One stream, over as many connections as it takes. Iterate over it for what it says. */
export class LiveStream {
  #url;
  #config;
  #options;
  #inbox;
  #memory;
  #backoff = new Backoff();
  #socket = null;
  #isAcknowledged = false;
  #hasBegun = false;
  #isEnding = false;
  #mediaHaveEnded = false;
  #hasSentEnd = false;
  #isOver = false;
  #order = Promise.resolve();
  #error = null;
  #token = "";
  #nextFinal = 0;
  #nextProvisional = 0;
  #lostAt = performance.now();
  #timer = null;
  #waiting = null;

  constructor(url, config, options = {}) {
    this.#url = url;
    this.#config = config;
    this.#options = { ...DEFAULTS, ...options };
    const sound = config.frames?.audio;
    const width = sound?.encoding === "SAMPLE_ENCODING_S16LE" ? 2 : 4;
    this.#memory = new Memory({
      sampleBytes: width * (sound?.channels ?? 1),
      sampleRate: sound?.sample_rate_hz ?? 1,
      mostBytes: this.#options.mostKeptBytes,
    });
    this.#inbox = new Inbox(this.#options.mostWaiting);
    this.#connect();
  }

  // what is sent

  /** The next bytes of the file, cut anywhere. Resolves when there is room for more. */
  sendContainer(data) {
    return quietly(this.#give(CONTAINER, data));
  }

  /** One picture, as the config says that pictures come, and its time. */
  sendFrame(data, seconds) {
    if (!Number.isFinite(seconds)) throw new TypeError("a frame needs its time in seconds");
    return quietly(this.#give(FRAME, data, seconds));
  }

  /** Interleaved samples, and when the first is heard; without a time they follow on. */
  sendAudio(samples, seconds) {
    const encoding = this.#config.frames?.audio?.encoding;
    return quietly(this.#give(SOUND, samplesAs(encoding, samples), seconds));
  }

  /** The media have ended: the last results follow, then the summary, then iteration ends. */
  end() {
    this.#isEnding = true;
    return quietly(this.#sent(this.#inOrder(() => {
      this.#mediaHaveEnded = true;
    })));
  }

  /** Leave, without waiting for anything. */
  close() {
    this.#finish(null);
  }

  async #give(kind, data, seconds) {
    if (this.#isEnding) throw new LiveError({ code: "closed", detail: "the media have ended" });
    const bytes = quietly(bytesOf(data));
    return this.#sent(
      this.#inOrder(async () => this.#memory.add(kind, await bytes, seconds)),
    );
  }

  /** Blobs give their bytes when they like: what was given first is taken in first. */
  #inOrder(task, ...given) {
    const done = this.#order.then(() => task(...given));
    this.#order = done.catch(() => {});
    return done;
  }

  async #sent(taken) {
    await taken;
    await this.#pump();
    if (this.#isOver && this.#error) throw this.#error;
  }

  /** Send what has not been sent, as fast as the socket takes it; wait while there is none. */
  async #pump() {
    while (!this.#isOver) {
      if (!this.#canSend()) {
        await this.#room();
        continue;
      }
      const piece = this.#memory.take();
      if (piece) {
        this.#socket.send(writeMedia(piece));
        continue;
      }
      if (this.#mediaHaveEnded && !this.#hasSentEnd) {
        this.#hasSentEnd = true;
        this.#socket.send(END);
      }
      return;
    }
  }

  /** Until something can be sent, or nothing any more. */
  #room() {
    this.#waiting ??= (async () => {
      while (!this.#canSend() && !this.#isOver) await pause();
      this.#waiting = null;
    })();
    return this.#waiting;
  }

  #canSend() {
    return this.#isAcknowledged && this.#socket.readyState === OPEN
      && this.#socket.bufferedAmount < BUFFERED_BYTES;
  }

  // what is heard

  [Symbol.asyncIterator]() {
    return {
      next: () => this.#inbox.next(),
      return: async () => {
        this.close();
        return { value: undefined, done: true };
      },
    };
  }

  #hear(message) {
    switch (message.type) {
      case "config_ack":
        this.#resume(message);
        break;
      case "frame_result":
        this.#result(message);
        break;
      case "media_released":
        this.#memory.release(message.until);
        break;
      case "draining":
        break; // the close follows, and then the next gateway
      case "error":
        this.#error = new LiveError(message);
        break;
      case "summary":
        this.#inbox.put(message);
        this.#over(null); // the gateway closes
        break;
      default:
        this.#inbox.put(message);
    }
  }

  #resume(acknowledged) {
    if (!this.#memory.rewind(acknowledged.send_from)) {
      this.#finish(new LiveError({
        code: "stream_gone",
        detail: "media that would have to be sent again are not kept any more",
      }));
      return;
    }
    this.#isAcknowledged = true;
    this.#backoff.reset();
    if (!this.#hasBegun) this.#inbox.put(acknowledged);
    this.#hasBegun = true;
    void this.#pump();
  }

  /** What was said before the connection was lost is not said again. */
  #result(result) {
    const next = Math.max(this.#nextFinal, result.is_final ? 0 : this.#nextProvisional);
    if (result.index < next) return;
    if (result.is_final) {
      this.#nextFinal = result.index + 1;
      this.#token = result.resume_token;
    } else {
      this.#nextProvisional = result.index + 1;
    }
    this.#inbox.put(result);
  }

  // the connections

  #connect() {
    const { key } = this.#options;
    const protocols = key ? [PROTOCOL, `bearer.${key}`] : [PROTOCOL];
    const socket = new WebSocket(this.#url, protocols);
    this.#socket = socket;
    this.#isAcknowledged = false;
    this.#hasSentEnd = false;
    this.#error = null;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(writeConfig(this.#config, this.#token));
    socket.onmessage = ({ data }) => {
      if (!this.#isOver) this.#hear(readResponse(data));
    };
    socket.onclose = ({ code, reason }) => {
      if (!this.#isOver) this.#lost(this.#error ?? errorOfClose(code, reason));
    };
  }

  #lost(error) {
    const now = performance.now();
    if (this.#isAcknowledged) this.#lostAt = now;
    this.#isAcknowledged = false;
    const waitedSeconds = (now - this.#lostAt) / 1000;
    const seconds = this.#backoff.seconds(error.retrySeconds ?? 0);
    if (!this.#isPassing(error) || waitedSeconds + seconds > this.#options.reconnectSeconds) {
      this.#finish(error);
    } else {
      this.#timer = setTimeout(() => this.#connect(), 1000 * seconds);
    }
  }

  #isPassing(error) {
    const isWanted = error.code === "stream_overrun"; // the config asked for this very end
    return error.retryable && !isWanted;
  }

  #over(error) {
    this.#isOver = true;
    this.#error = error;
    clearTimeout(this.#timer);
    this.#inbox.close(error);
  }

  #finish(error) {
    if (this.#isOver) return;
    this.#over(error);
    if (this.#socket.readyState <= OPEN) this.#socket.close();
  }
}

function pause() {
  return new Promise((resolve) => setTimeout(resolve, LOOK_MILLISECONDS));
}

/** Whoever does not wait for a piece to be sent learns of errors by iterating. */
function quietly(promise) {
  promise.catch(() => {});
  return promise;
}
