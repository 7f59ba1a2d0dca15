import { Backoff } from "./backoff.js";
import { LiveError, errorFromClose } from "./errors.js";
import { MessageQueue } from "./message-queue.js";
import { ReplayBuffer } from "./replay-buffer.js";
import {
  AUDIO, CONTAINER, END_MESSAGE, FRAME,
  convertSamples, encodeConfig, encodeMedia, parseResponse, toBytes,
} from "./wire.js";

const PROTOCOL = "circumplex.v1";
/** No chunk is sent while the socket's send buffer holds this much. */
const MAX_SOCKET_BUFFER_BYTES = 2 ** 20;
const BUFFER_POLL_MILLISECONDS = 10;
const OPEN = 1;

const DEFAULTS = {
  apiKey: null,
  reconnectTimeoutSeconds: 60,
  maxReplayBytes: 256 * 2 ** 20,
  maxQueuedMessages: 1024,
};

/** Open a stream; `config` is the StreamConfig of annotation.proto. */
export function annotate(url, config, options = {}) {
  return new LiveStream(url, config, options);
}

/** A stream that reconnects and resumes; iterate over it for its messages. */
export class LiveStream {
  #url;
  #config;
  #options;
  #messages;
  #replayBuffer;
  #backoff = new Backoff();
  #socket = null;
  #isAcknowledged = false;
  #wasAccepted = false;
  #endRequested = false;
  #mediaEnded = false;
  #hasSentEnd = false;
  #isClosed = false;
  #sendQueue = Promise.resolve();
  #error = null;
  #resumeToken = "";
  #nextFinal = 0;
  #nextProvisional = 0;
  #disconnectedAt = performance.now();
  #reconnectTimer = null;
  #capacityPromise = null;

  constructor(url, config, options = {}) {
    this.#url = url;
    this.#config = config;
    this.#options = { ...DEFAULTS, ...options };
    const audio = config.frames?.audio;
    const bytesPerSample = audio?.encoding === "SAMPLE_ENCODING_S16LE" ? 2 : 4;
    this.#replayBuffer = new ReplayBuffer({
      sampleBytes: bytesPerSample * (audio?.channels ?? 1),
      sampleRate: audio?.sample_rate_hz ?? 1,
      maxBytes: this.#options.maxReplayBytes,
    });
    this.#messages = new MessageQueue(this.#options.maxQueuedMessages);
    this.#connect();
  }

  // Sending

  /** Send the next bytes of the file, split anywhere. Resolves when more can be sent. */
  sendContainer(data) {
    return ignoreRejection(this.#enqueue(CONTAINER, data));
  }

  /** Send one frame in the config's encoding, with its time. */
  sendFrame(data, seconds) {
    if (!Number.isFinite(seconds)) throw new TypeError("a frame needs its time in seconds");
    return ignoreRejection(this.#enqueue(FRAME, data, seconds));
  }

  /** Send interleaved samples with the time of the first; default: they continue the last ones. */
  sendAudio(samples, seconds) {
    const encoding = this.#config.frames?.audio?.encoding;
    return ignoreRejection(this.#enqueue(AUDIO, convertSamples(encoding, samples), seconds));
  }

  /** End the media: the last results and the summary follow, then the iteration ends. */
  end() {
    this.#endRequested = true;
    return ignoreRejection(this.#waitUntilSent(this.#runInOrder(() => {
      this.#mediaEnded = true;
    })));
  }

  /** Close the stream without waiting for its last results. */
  close() {
    this.#closeWith(null);
  }

  async #enqueue(kind, data, seconds) {
    if (this.#endRequested) throw new LiveError({ code: "closed", detail: "the media have ended" });
    const bytes = ignoreRejection(toBytes(data));
    return this.#waitUntilSent(
      this.#runInOrder(async () => this.#replayBuffer.add(kind, await bytes, seconds)),
    );
  }

  /** Run tasks in order: reading the bytes of a Blob takes any amount of time. */
  #runInOrder(task, ...args) {
    const done = this.#sendQueue.then(() => task(...args));
    this.#sendQueue = done.catch(() => {});
    return done;
  }

  async #waitUntilSent(enqueued) {
    await enqueued;
    await this.#pump();
    if (this.#isClosed && this.#error) throw this.#error;
  }

  /** Send all unsent media as fast as the socket accepts them. */
  async #pump() {
    while (!this.#isClosed) {
      if (!this.#canSend()) {
        await this.#waitForCapacity();
        continue;
      }
      const chunk = this.#replayBuffer.nextUnsent();
      if (chunk) {
        this.#socket.send(encodeMedia(chunk));
        continue;
      }
      if (this.#mediaEnded && !this.#hasSentEnd) {
        this.#hasSentEnd = true;
        this.#socket.send(END_MESSAGE);
      }
      return;
    }
  }

  /** Resolves when the socket can send, or when the stream is closed. */
  #waitForCapacity() {
    this.#capacityPromise ??= (async () => {
      while (!this.#canSend() && !this.#isClosed) await sleep();
      this.#capacityPromise = null;
    })();
    return this.#capacityPromise;
  }

  #canSend() {
    return this.#isAcknowledged && this.#socket.readyState === OPEN
      && this.#socket.bufferedAmount < MAX_SOCKET_BUFFER_BYTES;
  }

  // Receiving
  [Symbol.asyncIterator]() {
    return {
      next: () => this.#messages.next(),
      return: async () => {
        this.close();
        return { value: undefined, done: true };
      },
    };
  }

  #handleMessage(message) {
    switch (message.type) {
      case "config_ack":
        this.#handleAck(message);
        break;
      case "frame_result":
        this.#handleResult(message);
        break;
      case "media_released":
        this.#replayBuffer.release(message.until);
        break;
      case "draining":
        break; // the gateway closes the connection, another one takes over
      case "error":
        this.#error = new LiveError(message);
        break;
      case "summary":
        this.#messages.push(message);
        this.#markClosed(null); // the gateway closes
        break;
      default:
        this.#messages.push(message);
    }
  }

  #handleAck(ack) {
    if (!this.#replayBuffer.rewind(ack.send_from)) {
      this.#closeWith(new LiveError({
        code: "stream_gone",
        detail: "media that would have to be sent again are no longer buffered",
      }));
      return;
    }
    this.#isAcknowledged = true;
    // Also a stream that has to begin anew keeps the version, whatever is current by then.
    if (ack.model) this.#config = { ...this.#config, model: ack.model };
    this.#backoff.reset();
    if (!this.#wasAccepted) this.#messages.push(ack);
    this.#wasAccepted = true;
    void this.#pump();
  }

  /** Queue a result unless it repeats one from before a reconnect. */
  #handleResult(result) {
    const next = Math.max(this.#nextFinal, result.is_final ? 0 : this.#nextProvisional);
    if (result.index < next) return;
    if (result.is_final) {
      this.#nextFinal = result.index + 1;
      this.#resumeToken = result.resume_token;
    } else {
      this.#nextProvisional = result.index + 1;
    }
    this.#messages.push(result);
  }

  // Connection
  #connect() {
    const { apiKey } = this.#options;
    const protocols = apiKey ? [PROTOCOL, `bearer.${apiKey}`] : [PROTOCOL];
    const socket = new WebSocket(this.#url, protocols);
    this.#socket = socket;
    this.#isAcknowledged = false;
    this.#hasSentEnd = false;
    this.#error = null;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(encodeConfig(this.#config, this.#resumeToken));
    socket.onmessage = ({ data }) => {
      if (!this.#isClosed) this.#handleMessage(parseResponse(data));
    };
    socket.onclose = ({ code, reason }) => {
      if (!this.#isClosed) this.#handleDisconnect(this.#error ?? errorFromClose(code, reason));
    };
  }

  #handleDisconnect(error) {
    const now = performance.now();
    if (this.#isAcknowledged) this.#disconnectedAt = now;
    this.#isAcknowledged = false;
    const waitedSeconds = (now - this.#disconnectedAt) / 1000;
    const seconds = this.#backoff.nextDelaySeconds(error.retrySeconds ?? 0);
    const isTooLate = waitedSeconds + seconds > this.#options.reconnectTimeoutSeconds;
    if (!this.#canReconnectAfter(error) || isTooLate) {
      this.#closeWith(error);
    } else {
      this.#reconnectTimer = setTimeout(() => this.#connect(), 1000 * seconds);
    }
  }

  #canReconnectAfter(error) {
    const isRequested = error.code === "stream_overrun"; // OVERLOAD_POLICY_FAIL asks for it
    return error.retryable && !isRequested;
  }

  #markClosed(error) {
    this.#isClosed = true;
    this.#error = error;
    clearTimeout(this.#reconnectTimer);
    this.#messages.close(error);
  }

  #closeWith(error) {
    if (this.#isClosed) return;
    this.#markClosed(error);
    if (this.#socket.readyState <= OPEN) this.#socket.close();
  }
}

function sleep() {
  return new Promise((resolve) => setTimeout(resolve, BUFFER_POLL_MILLISECONDS));
}

/** Mark a rejection as handled: errors also reach the caller through the iteration. */
function ignoreRejection(promise) {
  promise.catch(() => {});
  return promise;
}
