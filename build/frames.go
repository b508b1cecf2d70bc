package build

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
)

// frameSize is where a frame is cut, at the next entry. Independent frames of 4 MiB cost 1.5 % of size against
// one stream and let every core work.
const frameSize = 4 << 20

// bigFile is the size from which a file gets a frame of its own that waits for its turn on disk, so that memory does
// not grow with it.
const bigFile = 4 << 20

// window is how far back the compressor looks for repetitions. It is also what encoder and kernel keep in memory. An
// encoder without WithLowerEncoderMem keeps it twice, for the same bytes in the same time.
const window = 4 << 20

// levels are the values of Input.Compress. An encoder has tables of 34 MiB at "best", and Go's heap grows to twice what
// lives: 250 MiB on two cores. Measured on a root of 564 MB: one encoder for both cores took 172 MiB and twice as long;
// SpeedBetterCompression 153 MiB, but the ISO is 6 % larger.
var levels = map[string]zstd.EncoderLevel{
	"fastest": zstd.SpeedFastest,
	"default": zstd.SpeedDefault,
	"best":    zstd.SpeedBestCompression,
}

// compressor makes zstd frames on all cores. Its output depends on the bytes and the level alone.
type compressor struct {
	level    zstd.EncoderLevel
	encoders chan encoder  // one a core, shared by all segments: memory does not grow with their number
	slots    chan struct{} // frames in memory or on their way there, over all segments
	dir      string        // for frames that wait on disk
}

// encoder comes with the memory that contents pass through: new memory for each file was two thirds of all garbage.
type encoder struct {
	*zstd.Encoder
	buf []byte
}

func newCompressor(level zstd.EncoderLevel, dir string) (*compressor, error) {
	n := runtime.GOMAXPROCS(0)
	c := &compressor{dir: dir, level: level, encoders: make(chan encoder, n), slots: make(chan struct{}, 2*n)}
	for range n {
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return nil, fmt.Errorf("start compressor: %w", err)
		}
		c.encoders <- encoder{enc, make([]byte, 1<<17)}
	}
	return c, nil
}

// frame is a run of records that is compressed together.
type frame []record

func (f frame) big() bool { return len(f) == 1 && f[0].size >= bigFile }

// cut splits records into frames at entry boundaries.
func cut(list []record) []frame {
	var out []frame
	var cur frame
	var n int64
	for _, r := range list {
		if r.size >= bigFile {
			if len(cur) > 0 {
				out = append(out, cur)
			}
			out = append(out, frame{r})
			cur, n = nil, 0
			continue
		}
		cur = append(cur, r)
		if n += r.length(); n >= frameSize {
			out = append(out, cur)
			cur, n = nil, 0
		}
	}
	if len(cur) > 0 {
		out = append(out, cur)
	}
	return out
}

// archive is a cpio archive to compress: its records, where their contents are, its device number, the latest
// modification time it may show and what follows its last record.
type archive struct {
	records []record
	sp      *spill
	dev     [2]uint32
	clamp   int64
	end     []byte
}

// compress writes the archive to w as a row of frames.
func (c *compressor) compress(ctx context.Context, w io.Writer, a archive) error {
	g, ctx := errgroup.WithContext(ctx)
	frames := cut(a.records)
	order := make(chan chan packed, len(frames))
	g.Go(func() error {
		defer close(order)
		for i, f := range frames {
			select {
			case c.slots <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			done := make(chan packed, 1)
			g.Go(func() error { return c.pack(ctx, a, f, tail(a, i, len(frames)), done) })
			order <- done
		}
		return nil
	})
	g.Go(func() error { return c.collect(ctx, w, order) })
	return g.Wait()
}

// packed is a finished frame: in memory, or in a file without a name when it may be large.
type packed struct {
	data []byte
	file *os.File
}

// tail is what the frame carries after its records: the archive's end in the last one.
func tail(a archive, i, n int) []byte {
	if i == n-1 {
		return a.end
	}
	return nil
}

// pack compresses one frame. The slot is given back by collect.
func (c *compressor) pack(ctx context.Context, a archive, f frame, end []byte, done chan<- packed) error {
	if !f.big() {
		var out bytes.Buffer
		err := c.frame(ctx, &out, a, f, end)
		done <- packed{data: out.Bytes()}
		return err
	}
	file, err := nameless(c.dir)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(file, 1<<18)
	err = errors.Join(c.frame(ctx, w, a, f, end), w.Flush())
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	done <- packed{file: file}
	return err
}

// frame compresses one frame to w.
func (c *compressor) frame(ctx context.Context, w io.Writer, a archive, f frame, end []byte) error {
	enc := <-c.encoders // whoever has it waits for nobody, so there is always one soon
	defer func() { c.encoders <- enc }()
	enc.Reset(w)
	for _, r := range f {
		if err := r.write(stopper{ctx, enc}, a.sp, a.dev, a.clamp, enc.buf); err != nil {
			return errors.Join(err, enc.Close())
		}
	}
	_, err := enc.Write(end)
	if err = errors.Join(err, enc.Close()); err != nil {
		return fmt.Errorf("write segment: %w", err)
	}
	return nil
}

// collect writes the frames in order.
func (c *compressor) collect(ctx context.Context, w io.Writer, order <-chan chan packed) error {
	for done := range order {
		select {
		case p := <-done:
			<-c.slots
			if err := p.writeTo(w); err != nil {
				return fmt.Errorf("write segment: %w", err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (p packed) writeTo(w io.Writer) error {
	if p.file == nil {
		_, err := w.Write(p.data)
		return err
	}
	_, err := io.Copy(w, p.file)
	return errors.Join(err, p.file.Close())
}

// stopper ends a copy when its context is done.
type stopper struct {
	ctx context.Context
	w   io.Writer
}

func (s stopper) Write(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.w.Write(p)
}
