package early

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/lkv-io/lkv/internal/rootdesc"
)

// How long a medium is looked for: USB and SCSI buses take seconds to find their devices.
const (
	patience = 30 * time.Second
	between  = 500 * time.Millisecond // looks
	repeat   = 5 * time.Second        // between messages
)

// Reasons against a medium.
var (
	errNoVolume = errors.New("no ISO 9660 volume")
	errOther    = errors.New("not this image's root file system")
)

// media are the block devices of the machine.
type media interface {
	Names() []string                                        // in the order to try them
	Volume(name string) (string, error)                     // ISO 9660 volume ID
	Open(name string, want rootdesc.Root) (*os.File, error) // the squashfs on it, checked whole
}

// search looks for the medium with the image's root file system: by volume ID first, which costs one sector, then by
// content, as a second medium may have the same volume ID.
type search struct {
	want    rootdesc.Root
	media   media
	say     func(format string, args ...any)
	seen    []string         // what the last look found, for messages
	refused map[string]error // devices with other content; to read them whole again and again would take all the time
}

// find returns the open squashfs. Its error lists what was seen.
func (s *search) find() (*os.File, error) {
	for waited := time.Duration(0); ; waited += between {
		switch f := s.look(); {
		case f != nil:
			return f, nil
		case waited >= patience:
			return nil, fmt.Errorf("no medium has this image's root file system: looked %s for volume ID %q with %s; seen: %s; "+
				"attach the image's ISO and reset the machine", patience, s.want.Volume, rootdesc.OnMedium, s.sights())
		case waited > 0 && waited%repeat == 0:
			s.say("waiting for the medium with volume ID %q and %s; seen: %s", s.want.Volume, rootdesc.OnMedium, s.sights())
		}
		time.Sleep(between)
	}
}

// look tries every device once.
func (s *search) look() *os.File {
	s.seen = nil
	for _, name := range s.media.Names() {
		f, err := s.try(name)
		if err == nil {
			s.say("root file system found on %s", name)
			return f
		}
		s.seen = append(s.seen, fmt.Sprintf("%s (%v)", name, err))
	}
	return nil
}

func (s *search) try(name string) (*os.File, error) {
	if err := s.refused[name]; err != nil {
		return nil, err
	}
	id, err := s.media.Volume(name)
	if err != nil {
		return nil, err
	}
	if id != s.want.Volume {
		return nil, fmt.Errorf("volume ID %q", id)
	}
	f, err := s.media.Open(name, s.want)
	if errors.Is(err, errOther) {
		s.say("%s has the right volume ID but another image: %v", name, err)
		if s.refused == nil {
			s.refused = map[string]error{}
		}
		s.refused[name] = err
	}
	return f, err
}

func (s *search) sights() string {
	if len(s.seen) == 0 {
		return "no disk and no CD-ROM drive"
	}
	return strings.Join(s.seen, ", ")
}
