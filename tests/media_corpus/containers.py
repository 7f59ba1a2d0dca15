"""Container cases: one second of video in every container and codec that is accepted."""

from __future__ import annotations

from service.domain.media import Flag
from tests.media_corpus.case import (
    AUDIO_SOURCE,
    H264,
    H264_B_FRAMES,
    HEVC,
    MPEG2,
    VIDEO_SOURCE,
    YUV420P,
    case,
)
from tests.media_corpus.file_edits import rename_file

NTSC_SOURCE = "-f lavfi -i testsrc2=s=64x48:r=30000/1001:d=1"
LOW_RATE_SOURCE = "-f lavfi -i testsrc2=s=176x144:r=15:d=1"
DV_SOURCE = "-f lavfi -i testsrc2=s=720x576:r=25:d=0.4"
INFERRED = {Flag.TIMES_IRREGULAR}

CONTAINER_CASES = [
    case("mp4", "a.mp4", f"{VIDEO_SOURCE} {AUDIO_SOURCE} {H264} a.mp4"),
    case(
        "mp4, audio first",
        "a.mp4",
        f"{AUDIO_SOURCE} {VIDEO_SOURCE} -map 0 -map 1 {H264} a.mp4",
        media_info={"video_stream_index": 1, "audio_stream_index": 0, "audio_codec": "aac"},
    ),
    case(
        "mp4, in fragments",
        "a.mp4",
        f"{VIDEO_SOURCE} {H264} -g 5 -movflags frag_keyframe+empty_moov a.mp4",
    ),
    case(
        "mp4, hevc",
        "a.mp4",
        f"{VIDEO_SOURCE} {HEVC} -bf 3 a.mp4",
        media_info={"video_codec": "hevc", "video_profile": "Main"},
    ),
    case(
        "mp4, av1 with hidden frames",
        "a.mp4",
        f"{VIDEO_SOURCE} {YUV420P} -c:v libsvtav1 -preset 12 -svtav1-params lp=1 a.mp4",
        media_info={"video_codec": "av1"},
    ),
    case("mp4, mpeg-4 part 2", "a.mp4", f"{VIDEO_SOURCE} -c:v mpeg4 -bf 2 a.mp4"),
    case(
        "mp4, subtitles and chapters",
        "a.mp4",
        f"{VIDEO_SOURCE} -f lavfi -i sine=d=1 {H264} b.mp4",
        "-f lavfi -i testsrc2=s=64x48:r=25:d=1 -i b.mp4 -map 1 -map_metadata 1 -c copy"
        " -timecode 01:00:00:00 a.mov",
        rename_file("a.mov", "a.mp4"),
    ),
    case(
        "mov, ntsc",
        "a.mov",
        f"{NTSC_SOURCE} {H264} a.mov",
        rows=30,
        last=29 * 1001 / 30000,
        media_info={"average_rate_hz": 30000 / 1001, "time_base": "1/30000"},
    ),
    case(
        "mov, prores",
        "a.mov",
        f"{VIDEO_SOURCE} -c:v prores_ks -pix_fmt yuv422p10le a.mov",
        media_info={"video_codec": "prores", "bit_depth": 10, "pixel_format": "yuv422p10le"},
    ),
    case(
        "mov, prores with alpha",
        "a.mov",
        f"{VIDEO_SOURCE} -c:v prores_ks -profile:v 4 -pix_fmt yuva444p10le a.mov",
    ),
    case(
        "mov, png", "a.mov", f"{VIDEO_SOURCE} -c:v png a.mov", media_info={"pixel_format": "rgb24"}
    ),
    case("mov, quicktime animation", "a.mov", f"{VIDEO_SOURCE} -c:v qtrle a.mov"),
    case(
        "mov, old camera",
        "a.mov",
        f"{LOW_RATE_SOURCE} -f lavfi -i sine=r=8000:d=1 -c:v mjpeg -pix_fmt yuvj422p -c:a pcm_mulaw"
        " -ar 8000 a.mov",
        rows=15,
        last=14 / 15,
        media_info={"audio_rate_hz": 8000, "color_range": "full"},
    ),
    case("3gp, h.263", "a.3gp", f"{LOW_RATE_SOURCE} -c:v h263 a.3gp", rows=15, last=14 / 15),
    case(
        "webm, vp8 with hidden frames",
        "a.webm",
        f"{VIDEO_SOURCE} -c:v libvpx -auto-alt-ref 1 -lag-in-frames 10 -cpu-used 8 a.webm",
    ),
    case(
        "webm, vp9 with hidden frames",
        "a.webm",
        f"{VIDEO_SOURCE} {AUDIO_SOURCE} -c:v libvpx-vp9 -auto-alt-ref 1 -lag-in-frames 10"
        " -cpu-used 8 -c:a libopus a.webm",
        media_info={"audio_codec": "opus", "time_base": "1/1000"},
    ),
    case(
        "webm, alpha",
        "a.webm",
        f"{VIDEO_SOURCE} -c:v libvpx -pix_fmt yuva420p -auto-alt-ref 0 -cpu-used 8 a.webm",
    ),
    case(
        "matroska, no duration",
        "a.mkv",
        f"{VIDEO_SOURCE} {H264} -live 1 a.mkv",
        media_info={"duration_seconds": None, "frames_estimate": None},
    ),
    case("matroska, ffv1", "a.mkv", f"{VIDEO_SOURCE} -c:v ffv1 a.mkv"),
    case(
        "ts",
        "a.ts",
        f"{VIDEO_SOURCE} {AUDIO_SOURCE} {H264} -c:a aac a.ts",
        first=1.4213,
        last=2.3813,
    ),
    case("ts, mpeg-2", "a.ts", f"{VIDEO_SOURCE} {MPEG2} -bf 2 a.ts", first=1.44, last=2.4),
    case("ts, hevc", "a.ts", f"{VIDEO_SOURCE} {HEVC} a.ts", first=1.48, last=2.44),
    case("m2ts", "a.m2ts", f"{VIDEO_SOURCE} {H264} a.m2ts", first=1.4, last=2.36),
    case(
        "program stream",
        "a.mpg",
        f"{VIDEO_SOURCE} {AUDIO_SOURCE} {MPEG2} -c:a mp2 a.mpg",
        first=0.54,
        last=1.5,
        flags=INFERRED,
    ),
    case(
        "avi, b-frames and no timestamps",
        "a.avi",
        f"{VIDEO_SOURCE} -c:v mpeg4 -bf 2 a.avi",
        first=0.04,
        last=1.0,
        flags=INFERRED,
        anomalies={"times_inferred": 1},
    ),
    case(
        "avi, h.264 with b-frames",
        "a.avi",
        f"{VIDEO_SOURCE} {H264_B_FRAMES} a.avi",
        first=0.08,
        last=1.04,
        flags=INFERRED,
        anomalies={"times_inferred": 2},
    ),
    case(
        "avi, motion jpeg",
        "a.avi",
        f"{VIDEO_SOURCE} {AUDIO_SOURCE} -c:v mjpeg -c:a pcm_s16le a.avi",
    ),
    case("avi, huffyuv", "a.avi", f"{VIDEO_SOURCE} -c:v huffyuv -pix_fmt yuv422p a.avi"),
    case(
        "avi, dv",
        "a.avi",
        "-f lavfi -i testsrc2=s=720x576:r=25:d=0.2 -c:v dvvideo -pix_fmt yuv420p a.avi",
        rows=5,
        last=0.16,
        flags={Flag.INTERLACED},
        anomalies={"interlaced_frames": 5},
    ),
    case(
        "flash",
        "a.flv",
        f"{VIDEO_SOURCE} {AUDIO_SOURCE} {H264} -c:a aac a.flv",
        first=0.021,
        last=0.981,
    ),
    case("flash, sorenson", "a.flv", f"{VIDEO_SOURCE} -c:v flv a.flv"),
    case(
        "windows media",
        "a.wmv",
        f"{VIDEO_SOURCE} {AUDIO_SOURCE} -c:v wmv2 -c:a wmav2 a.wmv",
        first=0.043,
        last=1.003,
    ),
    case(
        "ogg, theora with repeated frames",
        "a.ogv",
        f"{VIDEO_SOURCE} {AUDIO_SOURCE} -c:v libtheora -c:a libvorbis a.ogv",
        rows=16,
        anomalies={"variable_rate": True},
    ),
    case(
        "a transport stream called mp4",
        "a.mp4",
        f"{VIDEO_SOURCE} {H264} b.ts",
        rename_file("b.ts", "a.mp4"),
        first=1.4,
        last=2.36,
        media_info={"container": "mpegts"},
    ),
    case(
        "matroska called avi",
        "a.avi",
        f"{VIDEO_SOURCE} {H264} b.mkv",
        rename_file("b.mkv", "a.avi"),
    ),
    case(
        "raw dv",
        "a.dv",
        f"{DV_SOURCE} {AUDIO_SOURCE} -t 0.4 -c:v dvvideo {YUV420P} -ac 2 a.dv",
        rows=10,
        last=0.36,
        flags={Flag.INTERLACED},
    ),
    case(
        "mxf",
        "a.mxf",
        f"-f lavfi -i testsrc2=s=320x240:r=25:d=1 {AUDIO_SOURCE} {MPEG2} -bf 2"
        " -c:a pcm_s16le a.mxf",
    ),
    case(
        "dvd",
        "a.vob",
        f"{VIDEO_SOURCE} {AUDIO_SOURCE} {MPEG2} -bf 2 -c:a ac3 a.vob",
        first=0.54,
        last=1.5,
        flags=INFERRED,
    ),
    case(
        "avi, xvid",
        "a.avi",
        f"{VIDEO_SOURCE} {AUDIO_SOURCE} {YUV420P} -c:v libxvid -bf 2 -c:a libmp3lame a.avi",
        rows=23,
        first=0.16,
        last=1.04,
        flags=INFERRED,
    ),
    case(
        "mp4, kvazaar's hevc",
        "a.mp4",
        f"-f lavfi -i testsrc2=s=64x64:r=25:d=1 {YUV420P} -c:v libkvazaar a.mp4",
    ),
    case("mp4, openh264", "a.mp4", f"{VIDEO_SOURCE} {YUV420P} -c:v libopenh264 a.mp4"),
    case(
        "mp4, cmaf",
        "a.mp4",
        f"{VIDEO_SOURCE} {AUDIO_SOURCE} {H264_B_FRAMES} -movflags cmaf a.mp4",
        first=0.08,
        last=1.04,
    ),
    case(
        "mp4, no edit list",
        "a.mp4",
        f"{VIDEO_SOURCE} {AUDIO_SOURCE} {H264_B_FRAMES} -use_editlist 0 a.mp4",
        first=0.08,
        last=1.04,
    ),
]
