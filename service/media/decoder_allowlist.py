"""Which of FFmpeg's decoders a clip may reach: what cameras, phones, editors and the web write.

FFmpeg has some five hundred, many for the files of old games, hardly ever fuzzed or used.
"""

from __future__ import annotations

from typing import Final

_VIDEO: Final = """
    h264 hevc vvc av1 libdav1d vp6 vp6a vp6f vp8 vp9 libvpx libvpx-vp9 theora
    mpeg1video mpeg2video mpegvideo mpeg4 msmpeg4v1 msmpeg4v2 msmpeg4 h261 h263 h263i h263p flv
    wmv1 wmv2 wmv3 vc1 svq1 svq3 cinepak indeo3 indeo5 rpza qtrle 8bps msrle msvideo1
    mjpeg mjpegb jpeg2000 png rawvideo v210 v308 v408 v410 yuv4 r210 r10k
    prores prores_raw dnxhd cfhd dvvideo ffv1 ffvhuff huffyuv utvideo magicyuv lagarith hap
"""

_AUDIO: Final = """
    aac aac_latm mp1 mp1float mp2 mp2float mp3 mp3float ac3 eac3 dca truehd mlp
    opus libopus vorbis flac alac speex wavpack tta
    amrnb amrwb libopencore_amrnb libopencore_amrwb gsm gsm_ms g722 g726 g726le nellymoser
    wmav1 wmav2 wmapro wmalossless wmavoice qdm2 qdmc dvaudio s302m
    pcm_alaw pcm_mulaw pcm_bluray pcm_dvd pcm_f32be pcm_f32le pcm_f64be pcm_f64le pcm_lxf
    pcm_s16be pcm_s16be_planar pcm_s16le pcm_s16le_planar pcm_s24be pcm_s24le pcm_s24le_planar
    pcm_s32be pcm_s32le pcm_s32le_planar pcm_s8 pcm_s8_planar
    pcm_u16be pcm_u16le pcm_u24be pcm_u24le pcm_u32be pcm_u32le pcm_u8
    adpcm_ima_qt adpcm_ima_wav adpcm_ms adpcm_swf adpcm_yamaha
"""
VIDEO_DECODERS: Final = frozenset(_VIDEO.split())
AUDIO_DECODERS: Final = frozenset(_AUDIO.split())
