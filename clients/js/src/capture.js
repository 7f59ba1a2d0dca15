import { annotate } from "./stream.js";

const CONTAINERS = [
  "video/webm;codecs=vp8,opus",
  "video/webm;codecs=vp8",
  "video/webm",
  "video/mp4;codecs=avc1.42E01E,mp4a.40.2",
  "video/mp4",
];
const DEFAULTS = {
  as: "container",
  framesPerSecond: 25,
  width: 640,
  jpegQuality: 0.8,
  chunkMilliseconds: 100,
  videoBitsPerSecond: 1_500_000,
  config: {},
};
const BATCH_SAMPLES = 1024;
const WORKLET = `
registerProcessor("circumplex-tap", class extends AudioWorkletProcessor {
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
 * results follow. The tracks are not stopped: they belong to whoever asked for them.
 */
export async function fromMediaStream(mediaStream, url, options = {}) {
  const wanted = { ...DEFAULTS, ...options };
  return wanted.as === "frames"
    ? captureFrames(mediaStream, url, wanted)
    : captureContainer(mediaStream, url, wanted);
}

/** What MediaRecorder writes, as it writes it. */
function captureContainer(mediaStream, url, wanted) {
  const mimeType = CONTAINERS.find((type) => MediaRecorder.isTypeSupported(type));
  if (!mimeType) throw new Error("this browser records neither WebM nor MP4; use frames");
  const stream = annotate(url, { ...wanted.config, container: {} }, wanted);
  const recorder = new MediaRecorder(mediaStream, {
    mimeType,
    videoBitsPerSecond: wanted.videoBitsPerSecond,
  });
  recorder.ondataavailable = ({ data }) => {
    if (data.size) stream.sendContainer(data);
  };
  recorder.onstop = () => stream.end();
  recorder.start(wanted.chunkMilliseconds);
  return {
    stream,
    stop() {
      if (recorder.state !== "inactive") recorder.stop();
    },
  };
}

/** JPEG frames and raw sound, both on the sound device's clock. */
async function captureFrames(mediaStream, url, wanted) {
  const sound = mediaStream.getAudioTracks().length ? new AudioContext() : null;
  const clock = sound ? () => sound.currentTime : () => performance.now() / 1000;
  const config = { ...wanted.config, frames: { encoding: "FRAME_ENCODING_JPEG" } };
  if (sound) {
    config.frames.audio = {
      encoding: "SAMPLE_ENCODING_F32LE",
      sample_rate_hz: sound.sampleRate,
      channels: 1,
    };
    await sound.resume();
  }
  const stream = annotate(url, config, wanted);
  const begin = clock();
  const stopPictures = await sendPictures(mediaStream, stream, wanted, () => clock() - begin);
  if (sound) await sendSound(mediaStream, stream, sound, begin);
  return {
    stream,
    stop() {
      stopPictures();
      void sound?.close();
      stream.end();
    },
  };
}

async function sendPictures(mediaStream, stream, wanted, seconds) {
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
    isBusy = true; // an encoder that is too slow leaves frames out, and queues none
    last = now;
    canvas.width = Math.min(wanted.width, video.videoWidth);
    canvas.height = Math.round((canvas.width * video.videoHeight) / video.videoWidth);
    context.drawImage(video, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => {
      isBusy = false;
      if (blob) stream.sendFrame(blob, now);
    }, "image/jpeg", wanted.jpegQuality);
  }, 1000 / wanted.framesPerSecond);
  return () => clearInterval(timer);
}

async function sendSound(mediaStream, stream, sound, begin) {
  const code = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
  await sound.audioWorklet.addModule(code);
  URL.revokeObjectURL(code);
  const tap = new AudioWorkletNode(sound, "circumplex-tap", {
    channelCount: 1,
    channelCountMode: "explicit",
  });
  let follows = null;
  tap.port.onmessage = ({ data: { samples, seconds } }) => {
    const isNext = follows !== null && Math.abs(seconds - follows) < 1 / sound.sampleRate;
    stream.sendAudio(samples, isNext ? undefined : Math.max(0, seconds - begin));
    follows = seconds + samples.length / sound.sampleRate;
  };
  sound.createMediaStreamSource(mediaStream).connect(tap);
}
