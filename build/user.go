package build

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/linuxkit/linuxkit/src/cmd/linuxkit/moby"
)

// Where an image keeps the names of its users and groups.
const (
	passwdFile = "etc/passwd"
	groupFile  = "etc/group"
)

// errUser is wrapped by the refusal of an image USER that means nobody.
var errUser = errors.New("the image's USER")

// imageUser is the USER a container runs as, empty when the image has none or the YAML or the image's label
// says something else. LinuxKit ignores it and runs everything as root.
func imageUser(e *moby.Image, user, label string) (string, error) {
	if e.UID != nil || e.GID != nil || user == "" {
		return "", nil
	}
	if label != "" {
		l, err := moby.NewImage([]byte(label))
		if err != nil {
			return "", fmt.Errorf("read label %s: %w", mobyLabel, err)
		}
		if l.UID != nil || l.GID != nil {
			return "", nil
		}
	}
	return user, nil
}

// numericUser tells whether a USER needs no file of the image to be understood: "1000:1000", but not "1000",
// whose group is in /etc/passwd.
func numericUser(user string) bool {
	u, g, ok := strings.Cut(user, ":")
	_, errU := number32(u)
	_, errG := number32(g)
	return ok && errU == nil && errG == nil
}

// runAs makes the container run as its image's USER, looked up in the image's own /etc/passwd and /etc/group
// (empty when it has none). It follows Docker: a name must be there, a number need not; the group is that of the
// user when none is given, else 0; the groups a user is a member of come along unless a group is given.
func (b *bundle) runAs(passwd, group []byte) error {
	if b.user == "" {
		return nil
	}
	want, wantGroup, grouped := strings.Cut(b.user, ":")
	p := &b.oci.Process.User
	name := want
	var err error
	if row := lookup(passwd, want, 4); row != nil {
		name = row[0]
		if p.UID, err = number32(row[2]); err == nil {
			p.GID, err = number32(row[3])
		}
	} else {
		p.UID, err = number32(want)
	}
	if err != nil {
		return fmt.Errorf("%w %q: no such user in its /%s: give uid in the YAML", errUser, b.user, passwdFile)
	}
	if !grouped {
		if p.AdditionalGids == nil {
			p.AdditionalGids = memberOf(group, name, p.GID)
		}
		return nil
	}
	if row := lookup(group, wantGroup, 3); row != nil {
		wantGroup = row[2]
	}
	if p.GID, err = number32(wantGroup); err != nil {
		return fmt.Errorf("%w %q: no such group in its /%s: give gid in the YAML", errUser, b.user, groupFile)
	}
	return nil
}

// lookup finds the row of a name, or of a number when no name is like it.
func lookup(file []byte, who string, fields int) []string {
	var byNumber []string
	for line := range strings.Lines(string(file)) {
		row := strings.Split(strings.TrimSpace(line), ":")
		if len(row) < fields {
			continue
		}
		if row[0] == who {
			return row
		}
		if row[2] == who && byNumber == nil {
			byNumber = row
		}
	}
	return byNumber
}

// memberOf lists the groups a user is a member of, without its own.
func memberOf(group []byte, user string, own uint32) []uint32 {
	var out []uint32
	for line := range strings.Lines(string(group)) {
		row := strings.Split(strings.TrimSpace(line), ":")
		if len(row) < 4 || !slices.Contains(strings.Split(row[3], ","), user) {
			continue
		}
		if id, err := number32(row[2]); err == nil && id != own && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

func number32(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err
}
