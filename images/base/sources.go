package base

import (
	"bufio"
	"io"
	"io/fs"
	"os"
	"strings"
)

// Public mirrors used when neither the caller nor this machine's apt names one.
const (
	publicMirror   = "http://deb.debian.org/debian"
	publicSecurity = "http://security.debian.org/debian-security"
)

// suite returns the chosen suite.
func (o Options) suite() string {
	if o.Suite == "" {
		return DefaultSuite
	}
	return o.Suite
}

// log returns where to write, never nil.
func (o Options) log() io.Writer {
	if o.Log == nil {
		return io.Discard
	}
	return o.Log
}

// sources returns the lines of sources.list: the suite, its updates and its security updates.
func (o Options) sources() ([]string, error) {
	mirror, security := o.Mirror, publicSecurity
	if mirror == "" {
		root := o.APT
		if root == nil {
			root = os.DirFS("/")
		}
		m, err := machineMirrors(root)
		if err != nil {
			return nil, err
		}
		mirror, security = m.main, m.security
	} else if strings.HasSuffix(strings.TrimSuffix(mirror, "/"), "/debian") {
		security = securityBeside(mirror)
	}
	s := o.suite()
	return []string{
		"deb " + mirror + " " + s + " main",
		"deb " + mirror + " " + s + "-updates main",
		"deb " + security + " " + s + "-security main",
	}, nil
}

// securityBeside is where a mirror named .../debian usually keeps security updates; Debian's own hosts differ.
func securityBeside(mirror string) string {
	m := strings.TrimSuffix(mirror, "/")
	if m == publicMirror {
		return publicSecurity
	}
	return m + "-security"
}

// mirrors are the addresses apt uses for Debian itself.
type mirrors struct{ main, security string }

// machineMirrors reads etc/apt of a Debian machine. Where it finds nothing (no Debian, other vendors only) the
// public mirror stands.
func machineMirrors(root fs.FS) (mirrors, error) {
	m := mirrors{publicMirror, publicSecurity}
	found := mirrors{}
	for _, pattern := range []string{"etc/apt/sources.list", "etc/apt/sources.list.d/*.sources", "etc/apt/sources.list.d/*.list"} {
		files, err := fs.Glob(root, pattern)
		if err != nil {
			return m, err
		}
		for _, f := range files {
			text, err := fs.ReadFile(root, f)
			if err != nil {
				continue // a file apt itself could not read
			}
			found.add(string(text))
		}
	}
	if found.main != "" {
		m.main = found.main
	}
	if found.security != "" {
		m.security = found.security
	}
	return m, nil
}

// add looks for Debian's own archives in one sources file of either format; the first of each kind counts.
func (m *mirrors) add(text string) {
	sc := bufio.NewScanner(strings.NewReader(text))
	for sc.Scan() {
		for _, w := range strings.Fields(strings.SplitN(sc.Text(), "#", 2)[0]) {
			uri := strings.TrimSuffix(w, "/")
			if !strings.HasPrefix(uri, "http://") && !strings.HasPrefix(uri, "https://") {
				continue
			}
			if m.main == "" && strings.HasSuffix(uri, "/debian") {
				m.main = uri
			}
			if m.security == "" && strings.HasSuffix(uri, "/debian-security") {
				m.security = uri
			}
		}
	}
}
