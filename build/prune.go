package build

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Prune removes cached segments no build has used since before, and what interrupted builds left there. It
// returns the bytes it freed. A build that runs at the same time is safe as long as before lies further back
// than that build's start. With dry it only says what it would free.
func Prune(cache string, before time.Time, dry bool) (freed int64, err error) {
	for _, d := range []string{"segments", "tmp"} {
		list, err := os.ReadDir(filepath.Join(cache, d))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return freed, fmt.Errorf("prune segment cache: %w", err)
		}
		for _, e := range list {
			st, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) || err == nil && !st.ModTime().Before(before) {
				continue
			}
			if err == nil && !dry {
				err = os.Remove(filepath.Join(cache, d, e.Name()))
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return freed, fmt.Errorf("prune segment cache: %w", err)
			}
			freed += st.Size()
		}
	}
	return freed, nil
}
