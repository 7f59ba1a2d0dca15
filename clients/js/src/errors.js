/** Why a stream cannot go on. `code` is the gateway's, or one of `connection_lost` and `closed`. */
export class LiveError extends Error {
  constructor({ code, title, detail, retryable = false, retry_seconds = null, trace_id = null }) {
    super(detail || title || code);
    this.name = "LiveError";
    this.code = code;
    this.retryable = retryable;
    this.retrySeconds = retry_seconds;
    this.traceId = trace_id;
  }
}

/** Close codes after which it is worth coming again: the line broke, the gateway stops or is full. */
const PASSING = new Set([1001, 1005, 1006, 1011, 1012, 1013]);

/** The error that a close stands for where the gateway has said nothing before it. */
export function errorOfClose(code, reason) {
  return new LiveError({
    code: "connection_lost",
    detail: `the connection was closed: ${code}${reason ? ` ${reason}` : ""}`,
    retryable: PASSING.has(code),
  });
}
