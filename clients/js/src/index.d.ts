/** Types of the messages of proto/circumplex/v1/annotation.proto; docs/reference/websocket.md
 * describes their transport. 64-bit integers are numbers here. */

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

export interface AnalysisOptions {
  /** NAME, for its current version, or NAME@VERSION; default: the gateway's. */
  model?: string;
  faces?: Faces;
  overload_policy?: OverloadPolicy;
  final_results_only?: boolean;
}

export interface ContainerConfig extends AnalysisOptions {
  container: { video_stream?: number; audio_stream?: number };
}

export interface FramesConfig extends AnalysisOptions {
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
  std_meaning?: StdMeaning;
  /** NAME@VERSION, which the stream keeps to its end, also when it reconnects. */
  model?: string;
  /** What the model has learnt from: drawn, photographs or recordings; empty: not known. */
  domain?: string;
  /** Caveats of every result of the model. */
  flags?: string[];
  /** Names of the model's class probabilities. */
  classes?: string[];
  /** One line for people: the model and its caveats. */
  model_summary?: string;
}

/** Meaning of `*_std`: see annotation.proto. */
export type StdMeaning =
  | "STD_MEANING_UNSPECIFIED"
  | "STD_MEANING_CALIBRATED"
  | "STD_MEANING_DISAGREEMENT"
  | "STD_MEANING_PUBLISHED_ERROR";

/** Valence and arousal in [-1, 1]; `*_std`: standard deviations, see `ConfigAck.std_meaning`. */
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
  /** Pixels of the displayed frame; missing where the face is not in this frame. */
  box?: { left: number; top: number; width: number; height: number; score: number };
  missing_reason: MissingReason;
  /** Left out where nothing is known yet. */
  estimate?: Estimate;
  /** In the order of `ConfigAck.classes`; empty where the face is not in this frame. */
  class_probabilities?: number[];
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
  /** What the model used of the stream: "face", and "voice" where audio was read. */
  modalities_used?: string[];
  latency?: { p50_seconds: number; p95_seconds: number; p99_seconds: number };
}

export type LiveMessage = ConfigAck | FrameResult | FramesDropped | StreamSummary;

export interface LiveOptions {
  /** API key, if the gateway requires one. */
  apiKey?: string | null;
  /** Time for which a lost connection is retried; 0: never. Default 60. */
  reconnectTimeoutSeconds?: number;
  /** Media buffered to be sent again; beyond it the oldest are dropped. Default 256 MiB. */
  maxReplayBytes?: number;
  /** Queued messages; beyond it the oldest provisional results are dropped. Default 1024. */
  maxQueuedMessages?: number;
}

export class LiveError extends Error {
  /** Error code of the gateway, `connection_lost` or `closed`. */
  readonly code: string;
  readonly retryable: boolean;
  readonly retrySeconds: number | null;
  readonly traceId: string | null;
}

type Bytes = Blob | ArrayBuffer | ArrayBufferView;

/** A stream that reconnects and resumes; iterate over it for its messages. */
export class LiveStream implements AsyncIterable<LiveMessage> {
  constructor(url: string, config: StreamConfig, options?: LiveOptions);
  /** Send the next bytes of the file, split anywhere. Resolves when more can be sent. */
  sendContainer(data: Bytes): Promise<void>;
  /** Send one frame and its presentation time, later than the previous frame's. */
  sendFrame(data: Bytes, seconds: number): Promise<void>;
  /** Send interleaved samples with the time of the first; default: they continue the last ones. */
  sendAudio(samples: Bytes, seconds?: number): Promise<void>;
  /** End the media: the last results and the summary follow, then the iteration ends. */
  end(): Promise<void>;
  /** Close the stream without waiting for its last results. */
  close(): void;
  [Symbol.asyncIterator](): AsyncIterator<LiveMessage, undefined>;
}

/** Open a stream. */
export function annotate(url: string, config: StreamConfig, options?: LiveOptions): LiveStream;

export interface CaptureOptions extends LiveOptions {
  /** MediaRecorder's container (default), or JPEG frames and raw audio: less latency, more data. */
  mode?: "container" | "frames";
  /** Options of the stream's config, without the media. */
  config?: AnalysisOptions;
  /** Container mode: interval between chunks, and video bit rate. */
  chunkMilliseconds?: number;
  videoBitsPerSecond?: number;
  /** Frames mode; `width`: maximum, in pixels. */
  framesPerSecond?: number;
  width?: number;
  jpegQuality?: number;
}

export interface Capture {
  stream: LiveStream;
  /** End the media; the last results follow. The tracks are not stopped. */
  stop(): void;
}

/** Stream a page's camera and microphone. */
export function fromMediaStream(
  mediaStream: MediaStream,
  url: string,
  options?: CaptureOptions,
): Promise<Capture>;
