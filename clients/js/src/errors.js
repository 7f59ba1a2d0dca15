/** Error that ends a stream. `code` is the gateway's error code, `connection_lost` or `closed`. */
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

/** Close codes of a lost connection, or of a gateway that stops or is full. */
const RETRYABLE_CLOSE_CODES = new Set([1001, 1005, 1006, 1011, 1012, 1013]);

/** Build the error of a close without a preceding error message. */
export function errorFromClose(code, reason) {
  return new LiveError({
    code: "connection_lost",
    detail: `the connection was closed: ${code}${reason ? ` ${reason}` : ""}`,
    retryable: RETRYABLE_CLOSE_CODES.has(code),
  });
}
