"""Timestamp cases: clips whose times are not index divided by rate."""

from __future__ import annotations

from service.domain.media import Flag
from tests.media_corpus.case import (
    AUDIO_SOURCE,
    H264,
    H264_B_FRAMES,
    HEVC,
    MPEG2,
    VIDEO_SOURCE,
    case,
)
from tests.media_corpus.file_edits import concatenate_files, drop_first_packets, set_edit_list

H264_OPEN_GOP = f"{H264_B_FRAMES} -g 8 -x264-params open-gop=1"
UNEVEN_TIMES = (
    f"-vf settb=1/90000,setpts=N*N/250/TB+N/25/TB {H264} -fps_mode vfr -enc_time_base 1/90000"
)
FILM_RATE_SOURCE = "-f lavfi -i testsrc2=s=64x48:r=24000/1001:d=1"
IRREGULAR = {Flag.TIMES_IRREGULAR}

TIMESTAMP_CASES = [
    case("b-frames", "a.mp4", f"{VIDEO_SOURCE} {H264_B_FRAMES} a.mp4"),
    case("b-frames, open groups", "a.mp4", f"{VIDEO_SOURCE} {H264_OPEN_GOP} a.mp4"),
    case(
        "b-frames, negative composition offsets",
        "a.mp4",
        f"{VIDEO_SOURCE} {H264_B_FRAMES} -movflags negative_cts_offsets a.mp4",
    ),
    case("b-frames, matroska", "a.mkv", f"{VIDEO_SOURCE} {H264_B_FRAMES} a.mkv"),
    case(
        "variable rate",
        "a.mp4",
        f"{VIDEO_SOURCE} {UNEVEN_TIMES} a.mp4",
        last=3.264,
        anomalies={"variable_rate": True, "shortest_step_seconds": 0.044},
    ),
    case(
        "variable rate, matroska",
        "a.mkv",
        f"{VIDEO_SOURCE} {UNEVEN_TIMES} a.mkv",
        last=3.264,
        anomalies={"variable_rate": True},
    ),
    case(
        "variable rate, avi with dropped frames",
        "a.avi",
        f"{VIDEO_SOURCE} -vf select=not(between(n\\,5\\,9)) -fps_mode vfr -c:v mpeg4 a.avi",
        rows=20,
        anomalies={"variable_rate": True, "longest_step_seconds": 0.24},
    ),
    case(
        "variable rate, screen recording",
        "a.mp4",
        f"{VIDEO_SOURCE} -vf select=not(mod(n\\,7))+not(mod(n\\,4)) -fps_mode vfr {H264} a.mp4",
        rows=10,
        anomalies={"variable_rate": True},
    ),
    case(
        "pulldown",
        "a.ts",
        f"{FILM_RATE_SOURCE} -pix_fmt yuv420p -c:v libx264 -x264-params pulldown=32:tff=1 a.ts",
        rows=24,
        first=1.4834,
        last=2.4427,
        flags={Flag.INTERLACED},
    ),
    case(
        "one frame every four seconds",
        "a.mp4",
        f"-f lavfi -i testsrc2=s=64x48:r=1/4:d=20 {H264} a.mp4",
        rows=5,
        last=16.0,
    ),
    case(
        "240 frames a second",
        "a.mkv",
        f"-f lavfi -i testsrc2=s=64x48:r=240:d=0.5 {H264} a.mkv",
        rows=120,
        last=0.496,
        anomalies={"variable_rate": False},
    ),
    case("one frame", "a.mp4", f"{VIDEO_SOURCE} {H264} -frames:v 1 a.mp4", rows=1, last=0.0),
    case(
        "one frame, long audio",
        "a.mp4",
        f"{VIDEO_SOURCE} {AUDIO_SOURCE} {H264} -frames:v 1 a.mp4",
        rows=1,
        last=0.0,
    ),
    case(
        "starts at ten seconds",
        "a.mkv",
        f"{VIDEO_SOURCE} {H264} -output_ts_offset 10 a.mkv",
        first=10.0,
        last=10.96,
        media_info={"video_start_seconds": 10.0},
    ),
    case(
        "video starts late",
        "a.mp4",
        f"-itsoffset 0.5 {VIDEO_SOURCE} {AUDIO_SOURCE} {H264} a.mp4",
        first=0.52,
        last=1.48,
        media_info={"video_start_seconds": 0.52, "audio_start_seconds": 0.0},
    ),
    case(
        "audio starts late",
        "a.mp4",
        f"{VIDEO_SOURCE} -itsoffset 0.5 {AUDIO_SOURCE} {H264} a.mp4",
        media_info={"video_start_seconds": 0.0, "audio_start_seconds": 0.4786667},
    ),
    case(
        "cut without decoding",
        "a.mp4",
        f"{VIDEO_SOURCE} {H264_B_FRAMES} b.mp4",
        "-ss 0.3 -i b.mp4 -c copy a.mp4",
        rows=17,
        last=0.64,
    ),
    case(
        "cut in an open group",
        "a.mp4",
        f"{VIDEO_SOURCE} {H264_OPEN_GOP} b.mp4",
        "-ss 0.5 -i b.mp4 -c copy a.mp4",
        rows=12,
        last=0.44,
    ),
    case(
        "an edit list plays a part twice",
        "a.mp4",
        f"{VIDEO_SOURCE} {H264} -g 5 a.mp4",
        set_edit_list("a.mp4", (400, 0), (400, 2560)),
        rows=20,
        last=0.76,
    ),
    case(
        "an edit list waits, then plays the end",
        "a.mp4",
        f"{VIDEO_SOURCE} {H264} -g 5 a.mp4",
        set_edit_list("a.mp4", (500, -1), (400, 7680)),
        rows=10,
        first=0.5,
        last=0.86,
    ),
    case(
        "ts, clock wraps",
        "a.ts",
        f"{VIDEO_SOURCE} {H264} -output_ts_offset 95442 a.ts",
        first=-0.3177,
        last=0.6423,
    ),
    case(
        "ts, begins in the middle",
        "a.ts",
        f"{VIDEO_SOURCE} {H264_B_FRAMES} -g 10 a.ts",
        drop_first_packets("a.ts", 0.3),
        rows=15,
        first=1.88,
        last=2.44,
    ),
    case(
        "ts, begins in an open group",
        "a.ts",
        f"{VIDEO_SOURCE} {H264_OPEN_GOP} a.ts",
        drop_first_packets("a.ts", 0.3),
        rows=17,
        first=1.8,
        last=2.44,
    ),
    case(
        "ts, mpeg-2 begins in an open group",
        "a.ts",
        f"{VIDEO_SOURCE} {MPEG2} -g 8 -bf 2 -flags -cgop a.ts",
        drop_first_packets("a.ts", 0.3),
        rows=16,
        first=1.8,
        last=2.4,
    ),
    case(
        "ts, hevc begins in an open group",
        "a.ts",
        f"{VIDEO_SOURCE} {HEVC}:open-gop=1:keyint=8:min-keyint=8:bframes=3 a.ts",
        drop_first_packets("a.ts", 0.3),
        rows=9,
        first=2.12,
        last=2.44,
    ),
    case(
        "ts, clock starts again",
        "a.ts",
        f"{VIDEO_SOURCE} {H264} b.ts",
        concatenate_files("b.ts", "b.ts", into="a.ts"),
        rows=50,
        first=1.4,
        last=2.36,
        flags={Flag.DAMAGED, *IRREGULAR},
        anomalies={"times_backward": 1},
    ),
    case(
        "times repeat",
        "a.mkv",
        f"{VIDEO_SOURCE} {H264} b.mkv",
        "-i b.mkv -c copy -bsf:v setts=pts=trunc(PTS/80)*80:dts=trunc(DTS/80)*80 a.mkv",
        flags=IRREGULAR,
        anomalies={"times_repeated": 12},
    ),
    case(
        "times step back",
        "a.mkv",
        f"{VIDEO_SOURCE} {H264} b.mkv",
        "-i b.mkv -c copy -bsf:v setts=dts=N*10-2000:pts=if(eq(mod(N\\,5)\\,4)\\,PTS-120\\,PTS)"
        " -avoid_negative_ts disabled a.mkv",
        flags=IRREGULAR,
        last=0.84,
        anomalies={"times_backward": 5},
    ),
    case(
        "times step back once",
        "a.mkv",
        f"{VIDEO_SOURCE} {H264} b.mkv",
        "-i b.mkv -c copy -bsf:v setts=dts=N*10-2000:pts=if(eq(N\\,12)\\,PTS-120\\,PTS)"
        " -avoid_negative_ts disabled a.mkv",
        flags=IRREGULAR,
        anomalies={"times_backward": 1},
    ),
]
