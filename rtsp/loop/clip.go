package loop

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts"
)

//go:embed clip.ts
var embedded []byte

const (
	videoRate  = 90000 // RTP clock of H264 (RFC 6184)
	pictureGap = time.Second / 25
)

// A track is one of the two streams of the clip.
type track int

const (
	video track = iota
	audio
)

// A unit is one picture or one AAC frame. The clip is borrowed by it.
type unit struct {
	track track
	at    time.Duration // since the start of the clip
	data  [][]byte      // NAL units, or one AAC frame
}

// A clip is a sequence of units that may be played again and again: both tracks
// last exactly length.
type clip struct {
	units    []unit // in the order of at
	length   time.Duration
	sps, pps []byte
	audio    mpeg4audio.AudioSpecificConfig
}

// unit returns the n-th unit of the clip played for ever, and when it is due
// after the start of the first pass.
func (c *clip) unit(n int) (unit, time.Duration) {
	u := c.units[n%len(c.units)]
	return u, time.Duration(n/len(c.units))*c.length + u.at
}

// parse reads a clip from an MPEG transport stream with one H264 track of 25
// pictures per second without B-frames, and one AAC track.
func parse(ts []byte) (*clip, error) {
	r := &mpegts.Reader{R: bytes.NewReader(ts)}
	if err := r.Initialize(); err != nil {
		return nil, fmt.Errorf("read the clip: %w", err)
	}
	c := &clip{}
	var frames, pictures time.Duration
	for _, t := range r.Tracks() {
		switch codec := t.Codec.(type) {
		case *mpegts.CodecH264:
			r.OnDataH264(t, func(_, _ int64, au [][]byte) error {
				c.keepParameters(au)
				c.units = append(c.units, unit{video, pictures * pictureGap, au})
				pictures++
				return nil
			})
		case *mpegts.CodecMPEG4Audio:
			c.audio = codec.Config
			r.OnDataMPEG4Audio(t, func(_ int64, aus [][]byte) error {
				for _, au := range aus {
					at := frames * mpeg4audio.SamplesPerAccessUnit * time.Second / time.Duration(codec.SampleRate)
					c.units = append(c.units, unit{audio, at, [][]byte{au}})
					frames++
				}
				return nil
			})
		}
	}
	for {
		if err := r.Read(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read the clip: %w", err)
		}
	}
	slices.SortStableFunc(c.units, func(a, b unit) int { return int(a.at - b.at) })
	c.length = pictures * pictureGap
	return c, c.check(frames)
}

func (c *clip) keepParameters(au [][]byte) {
	for _, nal := range au {
		switch h264.NALUType(nal[0] & 0x1f) {
		case h264.NALUTypeSPS:
			c.sps = nal
		case h264.NALUTypePPS:
			c.pps = nal
		}
	}
}

// check reports a clip that has a seam: tracks of different length would drift
// apart by the difference in every pass.
func (c *clip) check(frames time.Duration) error {
	if c.sps == nil || c.pps == nil || c.audio.SampleRate == 0 {
		return errors.New("the clip lacks an H264 or an AAC track")
	}
	samples := frames * mpeg4audio.SamplesPerAccessUnit
	if samples*time.Second != c.length*time.Duration(c.audio.SampleRate) {
		return fmt.Errorf("the clip has %v of pictures but %d audio samples", c.length, samples)
	}
	return nil
}
