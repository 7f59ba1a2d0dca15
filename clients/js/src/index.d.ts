/** Messages and configs are those of proto/circumplex/v1/annotation.proto; docs/live.md tells how
 * they travel. 64-bit numbers are numbers here. */

export type Faces = "FACES_PRIMARY" | "FACES_ALL";
export type OverloadPolicy =
  | "OVERLOAD_POLICY_BLOCK"
  | "OVERLOAD_POLICY_DROP_OLDEST"
  | "OVERLOAD_POLICY_FAIL";

export interface AudioFormat {
  encoding: "SAMPLE_ENCODING_S16LE" | "SAMPLE_ENCODING_F32LE";
  sample_rate_hz: number;
  channels: number;
}

export interface Choices {
  faces?: Faces;
  overload_policy?: OverloadPolicy;
  final_results_only?: boolean;
}

export interface ContainerConfig extends Choices {
  container: { video_stream?: number; audio_stream?: number };
}

export interface FramesConfig extends Choices {
  frames: {
    encoding: "FRAME_ENCODING_JPEG" | "FRAME_ENCODING_RGB24" | "FRAME_ENCODING_FACE_CROP";
    width?: number;
    height?: number;
    audio?: AudioFormat;
  };
}

export type StreamConfig = ContainerConfig | FramesConfig;

export interface MediaPosition {
  container_bytes: number;
  frames: number;
  audio_samples: number;
}

export interface ConfigAck {
  type: "config_ack";
  stream_id: string;
  limits: {
    message_bytes: number;
    frame_pixels: number;
    stream_seconds: number;
    buffered_results: number;
    waiting_frames: number;
    resume_seconds: number;
  };
  send_from: MediaPosition;
  next_final_index: number;
  weights_sha256: Record<string, string>;
}

/** Valence and arousal in [-1, 1]; `*_std` is the spread of the six folds. */
export interface Estimate {
  valence: number;
  arousal: number;
  valence_std: number;
  arousal_std: number;
  valence_smoothed: number;
  arousal_smoothed: number;
}

export type MissingReason = "MISSING_REASON_UNSPECIFIED" | "MISSING_REASON_FACE_NOT_FOUND";

export interface TrackResult {
  track: number;
  /** Pixels of the displayed frame; left out where this frame does not show the face. */
  box?: { left: number; top: number; width: number; height: number; score: number };
  missing_reason: MissingReason;
  /** Left out where nothing is known yet. */
  estimate?: Estimate;
}

export interface FrameResult {
  type: "frame_result";
  index: number;
  time_seconds: number;
  is_final: boolean;
  tracks: TrackResult[];
  missing_reason: MissingReason;
  resume_token: string;
}

export interface FramesDropped {
  type: "frames_dropped";
  first_index: number;
  count: number;
  reason: "DROP_REASON_UNSPECIFIED" | "DROP_REASON_OVERLOAD" | "DROP_REASON_UNREADABLE";
  time_seconds: number;
}

export interface StreamSummary {
  type: "summary";
  frames: number;
  frames_dropped: number;
  primary_track: number;
  dropped_tracks: number[];
  flags: string[];
  latency?: { p50_seconds: number; p95_seconds: number; p99_seconds: number };
}

export type LiveMessage = ConfigAck | FrameResult | FramesDropped | StreamSummary;

export interface LiveOptions {
  /** An API key, where the gateway asks for one. */
  key?: string | null;
  /** For how long a lost connection is sought again; 0: not at all. Default 60. */
  reconnectSeconds?: number;
  /** Media that are kept to be sent again; beyond it the oldest go. Default 256 MiB. */
  mostKeptBytes?: number;
  /** Messages that wait for whoever iterates; beyond it provisional results go. Default 1024. */
  mostWaiting?: number;
}

export class LiveError extends Error {
  /** Of the gateway's table of errors, or `connection_lost`, or `closed`. */
  readonly code: string;
  readonly retryable: boolean;
  readonly retrySeconds: number | null;
  readonly traceId: string | null;
}

type Bytes = Blob | ArrayBuffer | ArrayBufferView;

/** One stream, over as many connections as it takes. */
export class LiveStream implements AsyncIterable<LiveMessage> {
  constructor(url: string, config: StreamConfig, options?: LiveOptions);
  /** The next bytes of the file, cut anywhere. Resolves when there is room for more. */
  sendContainer(data: Bytes): Promise<void>;
  /** One picture, and its presentation time; each later than the one before. */
  sendFrame(data: Bytes, seconds: number): Promise<void>;
  /** Interleaved samples, and when the first is heard; without a time they follow on. */
  sendAudio(samples: Bytes, seconds?: number): Promise<void>;
  /** The media have ended: the last results follow, then the summary, then iteration ends. */
  end(): Promise<void>;
  /** Leave, without waiting for anything. */
  close(): void;
  [Symbol.asyncIterator](): AsyncIterator<LiveMessage, undefined>;
}

/** Open a stream. */
export function annotate(url: string, config: StreamConfig, options?: LiveOptions): LiveStream;

export interface CaptureOptions extends LiveOptions {
  /** What MediaRecorder writes (default), or single JPEG frames and raw sound: sooner, larger. */
  as?: "container" | "frames";
  /** Besides the media. */
  config?: Choices;
  /** Of a container: how often a chunk is sent, and how good the picture is. */
  chunkMilliseconds?: number;
  videoBitsPerSecond?: number;
  /** Of frames. `width`: at most, in pixels. */
  framesPerSecond?: number;
  width?: number;
  jpegQuality?: number;
}

export interface Capture {
  stream: LiveStream;
  /** Ends the media; the last results follow. The tracks stay as they are. */
  stop(): void;
}

/** Stream a page's camera and microphone. */
export function fromMediaStream(
  mediaStream: MediaStream,
  url: string,
  options?: CaptureOptions,
): Promise<Capture>;
