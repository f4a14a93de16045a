#!/bin/sh
# Makes clip.ts: 8 s of H264 (640x360, 25 pictures/s, one closed GOP per second,
# no B-frames) and AAC (48 kHz, mono), which repeats without a seam:
# 8 s are 200 pictures and exactly 375 AAC frames, and the tone has a whole number
# of periods in them. The audio is cut from the middle of a longer tone, so that its
# first frame goes on where its last one ends.
set -eu
cd "$(dirname "$0")"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
# A font is found by name if fontconfig knows one; the clip needs none otherwise.
ffmpeg -v error -y -f lavfi -i testsrc2=size=640x360:rate=25:duration=8 \
	-c:v libx264 -profile:v main -pix_fmt yuv420p -preset veryslow -bf 0 -g 25 -keyint_min 25 -sc_threshold 0 \
	-flags +cgop -x264-params repeat-headers=1:aud=0 -b:v "${VIDEO:-270k}" -maxrate 320k -bufsize 320k -an "$tmp/video.ts"
ffmpeg -v error -y -f lavfi -i "sine=frequency=440:sample_rate=48000:duration=24" \
	-af "volume=-12dB" -c:a aac -b:a 40k -ac 1 "$tmp/tone.aac"
ffmpeg -v error -y -ss 8 -i "$tmp/tone.aac" -c copy -frames:a 375 "$tmp/audio.aac"
ffmpeg -v error -y -i "$tmp/video.ts" -i "$tmp/audio.aac" -c copy -muxdelay 0 -muxpreload 0 \
	-mpegts_flags +resend_headers -pes_payload_size 600 -pat_period 8 -sdt_period 8 clip.ts
