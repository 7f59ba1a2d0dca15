"""Picture cases: geometry, orientation, bit depth, colours, and several video streams."""

from __future__ import annotations

from service.domain.media import Flag
from tests.media_corpus.case import H264, HEVC, MPEG2, VIDEO_SOURCE, YUV420P, case
from tests.media_corpus.file_edits import concatenate_files, set_display_matrix

H264_TEN_BIT = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p10le"
BT2020_PARAMS = "-x264-params colorprim=bt2020:colormatrix=bt2020nc"
LARGE_SOURCE = "-f lavfi -i testsrc2=s=96x64:r=10:d=1"
REMUX = "-i b.mp4 -c copy a.mp4"
TWO_SEGMENTS = {"rows": 50, "first": 1.4, "last": 3.36, "flags": {Flag.DAMAGED, Flag.SIZE_CHANGES}}

GEOMETRY_CASES = [
    case(
        "rotated left",
        "a.mp4",
        f"{VIDEO_SOURCE} {H264} b.mp4",
        f"-display_rotation 90 {REMUX}",
        media_info={"rotation_degrees": 90, "mirrored": False, "width": 48, "height": 64},
    ),
    case(
        "rotated right",
        "a.mp4",
        f"{VIDEO_SOURCE} {H264} b.mp4",
        f"-display_rotation -90 {REMUX}",
        media_info={"rotation_degrees": 270, "width": 48},
    ),
    case(
        "upside down",
        "a.mp4",
        f"{VIDEO_SOURCE} {H264} b.mp4",
        f"-display_rotation 180 {REMUX}",
        media_info={"rotation_degrees": 180, "width": 64},
    ),
    case(
        "mirrored",
        "a.mp4",
        f"{VIDEO_SOURCE} {H264} b.mp4",
        f"-display_hflip {REMUX}",
        media_info={"rotation_degrees": 0, "mirrored": True},
    ),
    case(
        "mirrored and rotated",
        "a.mp4",
        f"{VIDEO_SOURCE} {H264} a.mp4",
        set_display_matrix("a.mp4", (0, 1, 1, 0)),
        media_info={"rotation_degrees": 90, "mirrored": True, "width": 48, "height": 64},
    ),
    case(
        "rotated by 30 degrees",
        "a.mp4",
        f"{VIDEO_SOURCE} {H264} b.mp4",
        f"-display_rotation 30 {REMUX}",
        media_info={"rotation_degrees": 30, "width": 80, "height": 74},
    ),
    case(
        "wide pixels",
        "a.mkv",
        f"{VIDEO_SOURCE} -vf setsar=64/45 {H264} a.mkv",
        media_info={"sample_aspect_ratio": "64:45", "width": 91, "coded_width": 64},
    ),
    case(
        "narrow pixels",
        "a.ts",
        f"{VIDEO_SOURCE} -vf setsar=1/2 {MPEG2} -aspect 4/3 a.ts",
        first=1.44,
        last=2.4,
    ),
    case(
        "wide pixels, rotated",
        "a.mp4",
        f"{VIDEO_SOURCE} -vf setsar=2 {H264} b.mp4",
        f"-display_rotation 90 {REMUX}",
        media_info={"width": 48, "height": 128},
    ),
    case(
        "odd size",
        "a.mkv",
        f"{VIDEO_SOURCE} -vf scale=65:49 -c:v ffv1 {YUV420P} a.mkv",
        media_info={"width": 65, "height": 49},
    ),
    case(
        "cropped by the codec",
        "a.mp4",
        f"{VIDEO_SOURCE} -vf scale=66:50,setsar=1 {H264} a.mp4",
        media_info={"width": 66, "height": 50},
    ),
    case(
        "size changes",
        "a.ts",
        f"{VIDEO_SOURCE} {H264} b.ts",
        f"{VIDEO_SOURCE} -vf scale=96:64 {H264} -output_ts_offset 1 c.ts",
        concatenate_files("b.ts", "c.ts", into="a.ts"),
        **TWO_SEGMENTS,
        anomalies={"size_changes": 1},
    ),
    case(
        "pixel shape changes",
        "a.ts",
        f"{VIDEO_SOURCE} -vf setsar=1 {H264} b.ts",
        f"{VIDEO_SOURCE} -vf setsar=2 {H264} -output_ts_offset 1 c.ts",
        concatenate_files("b.ts", "c.ts", into="a.ts"),
        **TWO_SEGMENTS,
        anomalies={"size_changes": 1},
    ),
    case(
        "interlaced",
        "a.ts",
        f"{VIDEO_SOURCE} -vf setfield=tff {MPEG2} -flags +ilme+ildct a.ts",
        first=1.44,
        last=2.4,
        flags={Flag.INTERLACED},
        media_info={"field_order": "top"},
    ),
    case(
        "interlaced, bottom first",
        "a.mp4",
        f"{VIDEO_SOURCE} {YUV420P} -c:v libx264 -x264-params bff=1 a.mp4",
        flags={Flag.INTERLACED},
        media_info={"field_order": "bottom"},
    ),
]

COLOR_CASES = [
    case("ten bits", "a.mp4", f"{VIDEO_SOURCE} {H264_TEN_BIT} a.mp4", media_info={"bit_depth": 10}),
    case(
        "ten bits, hevc",
        "a.mp4",
        f"{VIDEO_SOURCE} {HEVC} -pix_fmt yuv420p10le a.mp4",
        media_info={"bit_depth": 10, "video_profile": "Main 10"},
    ),
    case(
        "twelve bits",
        "a.mkv",
        f"{VIDEO_SOURCE} {HEVC} -pix_fmt yuv422p12le a.mkv",
        media_info={"bit_depth": 12},
    ),
    case(
        "full range",
        "a.mp4",
        f"{VIDEO_SOURCE} -vf scale=out_range=full {H264} -color_range pc a.mp4",
        media_info={"color_range": "full"},
    ),
    case(
        "bt.709",
        "a.mp4",
        f"{VIDEO_SOURCE} {H264} -color_range tv -x264-params"
        " colorprim=bt709:transfer=bt709:colormatrix=bt709 a.mp4",
        media_info={"color_matrix": "bt709", "color_transfer": "bt709", "color_range": "limited"},
    ),
    case(
        "rgb",
        "a.mkv",
        f"{VIDEO_SOURCE} -c:v libx264rgb -pix_fmt rgb24 a.mkv",
        media_info={"pixel_format": "gbrp", "color_matrix": "gbr"},
    ),
    case("grey", "a.mkv", f"{VIDEO_SOURCE} -c:v ffv1 -pix_fmt gray a.mkv"),
    case(
        "pq",
        "a.mp4",
        f"{VIDEO_SOURCE} {H264_TEN_BIT} {BT2020_PARAMS}:transfer=smpte2084 a.mp4",
        flags={Flag.TONE_MAPPED},
        media_info={"hdr": "pq", "color_primaries": "bt2020"},
    ),
    case(
        "hlg",
        "a.mp4",
        f"{VIDEO_SOURCE} {H264_TEN_BIT} {BT2020_PARAMS}:transfer=arib-std-b67 a.mp4",
        flags={Flag.TONE_MAPPED},
        media_info={"hdr": "hlg", "color_matrix": "bt2020nc"},
    ),
    case(
        "ycgco",
        "a.mp4",
        f"{VIDEO_SOURCE} {H264} -x264-params colormatrix=YCgCo a.mp4",
        media_info={"color_matrix": "ycgco"},
    ),
]

MULTI_STREAM_CASES = [
    case(
        "cover picture and video",
        "a.mp4",
        f"{VIDEO_SOURCE} {H264} b.mp4",
        f"{VIDEO_SOURCE} -frames:v 1 c.png",
        "-i c.png -i b.mp4 -map 0 -map 1 -c copy -disposition:v:0 attached_pic a.mp4",
        media_info={"video_streams": 1, "video_stream_index": 0},
    ),
    case(
        "two videos",
        "a.mkv",
        f"{VIDEO_SOURCE} {LARGE_SOURCE} -map 0 -map 1 {H264} a.mkv",
        media_info={"video_streams": 2, "video_stream_index": 0, "width": 64},
    ),
    case(
        "the second video",
        "a.mkv",
        f"{VIDEO_SOURCE} {LARGE_SOURCE} -map 0 -map 1 {H264} a.mkv",
        rows=10,
        last=0.9,
        video_stream=1,
        listed="v:1",
        media_info={"width": 96},
    ),
]
