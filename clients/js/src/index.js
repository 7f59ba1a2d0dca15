export { LiveError } from "./errors.js";
export { fromMediaStream } from "./capture.js";
export { LiveStream, annotate } from "./stream.js";
