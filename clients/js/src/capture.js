import { annotate } from "./stream.js";

const CONTAINERS = [
  "video/webm;codecs=vp8,opus",
  "video/webm;codecs=vp8",
  "video/webm",
  "video/mp4;codecs=avc1.42E01E,mp4a.40.2",
  "video/mp4",
];
const DEFAULTS = {
  mode: "container",
  framesPerSecond: 25,
  width: 640,
  jpegQuality: 0.8,
  chunkMilliseconds: 100,
  videoBitsPerSecond: 1_500_000,
  config: {},
};
const BATCH_SAMPLES = 1024;
const WORKLET = `
registerProcessor("circumplex-audio-tap", class extends AudioWorkletProcessor {
  constructor() { super(); this.batch = new Float32Array(${BATCH_SAMPLES}); this.filled = 0; }
  process([input]) {
    const [channel] = input;
    if (!channel) return true;
    if (!this.filled) this.seconds = currentTime;
    this.batch.set(channel, this.filled);
    this.filled += channel.length;
    if (this.filled >= this.batch.length) {
      this.port.postMessage({ samples: this.batch.slice(0, this.filled), seconds: this.seconds });
      this.filled = 0;
    }
    return true;
  }
});`;

/** Stream a page's camera and microphone.
 *
 * @returns `{ stream, stop }`: iterate over `stream`; `stop()` ends the media, and the last
 * results follow. The tracks of `mediaStream` are not stopped.
 */
export async function fromMediaStream(mediaStream, url, options = {}) {
  const settings = { ...DEFAULTS, ...options };
  return settings.mode === "frames"
    ? captureFrames(mediaStream, url, settings)
    : captureContainer(mediaStream, url, settings);
}

/** Send a container as MediaRecorder writes it. */
function captureContainer(mediaStream, url, settings) {
  const mimeType = CONTAINERS.find((type) => MediaRecorder.isTypeSupported(type));
  if (!mimeType) throw new Error("this browser records neither WebM nor MP4; use mode \"frames\"");
  const stream = annotate(url, { ...settings.config, container: {} }, settings);
  const recorder = new MediaRecorder(mediaStream, {
    mimeType,
    videoBitsPerSecond: settings.videoBitsPerSecond,
  });
  recorder.ondataavailable = ({ data }) => {
    if (data.size) stream.sendContainer(data);
  };
  recorder.onstop = () => stream.end();
  recorder.start(settings.chunkMilliseconds);
  return {
    stream,
    stop() {
      if (recorder.state !== "inactive") recorder.stop();
    },
  };
}

/** Send JPEG frames and raw audio, both timed by the audio device's clock. */
async function captureFrames(mediaStream, url, settings) {
  const audioContext = mediaStream.getAudioTracks().length ? new AudioContext() : null;
  const clock = audioContext ? () => audioContext.currentTime : () => performance.now() / 1000;
  const config = { ...settings.config, frames: { encoding: "FRAME_ENCODING_JPEG" } };
  if (audioContext) {
    config.frames.audio = {
      encoding: "SAMPLE_ENCODING_F32LE",
      sample_rate_hz: audioContext.sampleRate,
      channels: 1,
    };
    await audioContext.resume();
  }
  const stream = annotate(url, config, settings);
  const startSeconds = clock();
  const stopFrames = await sendFrames(mediaStream, stream, settings, () => clock() - startSeconds);
  if (audioContext) await sendAudioTrack(mediaStream, stream, audioContext, startSeconds);
  return {
    stream,
    stop() {
      stopFrames();
      void audioContext?.close();
      stream.end();
    },
  };
}

async function sendFrames(mediaStream, stream, settings, seconds) {
  const video = document.createElement("video");
  Object.assign(video, { muted: true, playsInline: true, srcObject: mediaStream });
  await video.play();
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { alpha: false });
  let last = -Infinity;
  let isBusy = false;
  const timer = setInterval(() => {
    const now = seconds();
    if (isBusy || now <= last || !video.videoWidth) return;
    isBusy = true; // while the encoder is busy, frames are skipped, not queued
    last = now;
    canvas.width = Math.min(settings.width, video.videoWidth);
    canvas.height = Math.round((canvas.width * video.videoHeight) / video.videoWidth);
    context.drawImage(video, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => {
      isBusy = false;
      if (blob) stream.sendFrame(blob, now);
    }, "image/jpeg", settings.jpegQuality);
  }, 1000 / settings.framesPerSecond);
  return () => clearInterval(timer);
}

async function sendAudioTrack(mediaStream, stream, audioContext, startSeconds) {
  const code = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
  await audioContext.audioWorklet.addModule(code);
  URL.revokeObjectURL(code);
  const audioNode = new AudioWorkletNode(audioContext, "circumplex-audio-tap", {
    channelCount: 1,
    channelCountMode: "explicit",
  });
  let expectedSeconds = null;
  audioNode.port.onmessage = ({ data: { samples, seconds } }) => {
    const isNext = expectedSeconds !== null
      && Math.abs(seconds - expectedSeconds) < 1 / audioContext.sampleRate;
    stream.sendAudio(samples, isNext ? undefined : Math.max(0, seconds - startSeconds));
    expectedSeconds = seconds + samples.length / audioContext.sampleRate;
  };
  audioContext.createMediaStreamSource(mediaStream).connect(audioNode);
}
