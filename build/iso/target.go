package iso

import "fmt"

// target is a File with the two ways in which this package writes to it.
type target struct{ File }

// put writes p at byte at; what names it in errors.
func (t target) put(p []byte, at int64, what string) error {
	if len(p) == 0 {
		return nil
	}
	if _, err := t.WriteAt(p, at); err != nil {
		return fmt.Errorf("write %s at byte %d: %w", what, at, err)
	}
	return nil
}

// zeros fills a gap at the end of what was written so far, with a hole when the file can make one: an initrd far
// below its bound leaves up to 128 MiB of the FAT image unused.
func (t target) zeros(from, to int64) error {
	if f, ok := t.File.(interface{ Truncate(int64) error }); ok && to-from > 1<<20 {
		for _, size := range []int64{from, to} {
			if err := f.Truncate(size); err != nil {
				return fmt.Errorf("truncate image to %d bytes: %w", size, err)
			}
		}
		return nil
	}
	const piece = 1 << 20
	for from < to {
		n := min(to-from, piece)
		if err := t.put(make([]byte, n), from, "zeros"); err != nil {
			return err
		}
		from += n
	}
	return nil
}
