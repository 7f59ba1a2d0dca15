"""Clip errors: the clip is at fault, and a retry will not help."""

from __future__ import annotations

from service.errors.base import CircumplexError


class ClipError(CircumplexError):
    """The clip cannot be analysed."""

    code = "clip_error"
    http_status = 422
    grpc_status = "INVALID_ARGUMENT"
    condemns_clip = True


class ClipNotMedia(ClipError):
    """The file is not a video in any accepted container."""

    code = "clip_not_media"


class ClipTruncated(ClipError):
    """The file ends before the index that its frames need."""

    code = "clip_truncated"


class ClipWithoutVideo(ClipError):
    """The file has no video stream."""

    code = "clip_without_video"


class ClipWithoutFrames(ClipError):
    """The video stream has no frame that can be decoded."""

    code = "clip_without_frames"


class ClipEncrypted(ClipError):
    """The video is encrypted."""

    code = "clip_encrypted"


class MediaStreamUnknown(ClipError):
    """The file has no stream of the requested kind with this index."""

    code = "stream_unknown"


class ClipTooLong(ClipError):
    """The clip lasts longer, or has more frames, than this service accepts."""

    code = "clip_too_long"


class ClipTooManyPixels(ClipError):
    """The frames have more pixels than this service accepts."""

    code = "clip_too_many_pixels"


class DecoderCrashed(ClipError):
    """The decode process crashed on the clip."""

    code = "decoder_crashed"
    condemns_clip = False


class DecoderOutOfMemory(ClipError):
    """Decoding the clip needs more memory than allowed."""

    code = "decoder_out_of_memory"


class ClipTooCostly(ClipError):
    """The clip takes more processor time, or has more frames, than its size accounts for."""

    code = "clip_too_costly"


class DecoderTimedOut(ClipError):
    """Decoding the clip took longer than allowed."""

    code = "decoder_timed_out"


class AttemptsExhausted(ClipError):
    """Every attempt lost its worker while the clip was being analysed."""

    code = "attempts_exhausted"
    condemns_clip = False
