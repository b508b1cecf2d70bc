package build

// resolvLink is what /etc/resolv.conf points to in the root file system.
const resolvLink = "/run/resolvconf/resolv.conf"

// hosts is every image's /etc/hosts, with LinuxKit's spacing.
const hosts = "127.0.0.1       localhost\n" +
	"::1     localhost ip6-localhost ip6-loopback\n" +
	"fe00::0 ip6-localnet\n" +
	"ff00::0 ip6-mcastprefix\n" +
	"ff02::1 ip6-allnodes\n" +
	"ff02::2 ip6-allrouters\n"

// noResolv is /etc/resolv.conf of a container that binds no other, as LinuxKit writes it.
const noResolv = "\n# no resolv.conf configured\n"

// dropped are names of an image that only make sense where it was built.
var dropped = []string{".dockerenv", "Dockerfile", "dev/console", "etc/hostname"}

// standard gives an image's tree the names LinuxKit guarantees in every image: mount points, /etc/hosts,
// /etc/resolv.conf and /etc/mtab. resolv is the target of /etc/resolv.conf; empty makes it a file.
func (t *tree) standard(resolv string) error {
	for _, name := range dropped {
		d, base, err := t.above(name, false)
		if err != nil {
			return err
		}
		if d != nil {
			delete(d.children, base)
		}
	}
	for _, name := range []string{"dev", "dev/pts", "dev/shm", "etc", "proc", "sys"} {
		if err := t.ensure(name, &inode{mode: typeDir | 0o755, mtime: t.mtime}); err != nil {
			return err
		}
	}
	// Mount points in LinuxKit's eyes: what the image says about them is dropped, what lies in them stays.
	for _, name := range []string{"dev/pts", "dev/shm"} {
		n, err := t.find(name)
		if err != nil {
			return err
		}
		if n != nil && n.ino.is(typeDir) {
			n.ino = &inode{mode: typeDir | 0o755, mtime: t.mtime}
		}
	}
	if err := t.ensure("etc/mtab", &inode{mode: typeLink | 0o777, target: "/proc/mounts", mtime: t.mtime}); err != nil {
		return err
	}
	if err := t.replace("etc/hosts", t.file(hosts)); err != nil {
		return err
	}
	if resolv != "" {
		return t.replace("etc/resolv.conf", &inode{mode: typeLink | 0o777, target: resolv, mtime: t.mtime})
	}
	return t.replace("etc/resolv.conf", t.file(noResolv))
}

func (t *tree) file(text string) *inode {
	return &inode{mode: typeReg | 0o644, data: []byte(text), size: int64(len(text)), mtime: t.mtime}
}

// above returns the directory a name lies in and the name's last element.
func (t *tree) above(name string, create bool) (*node, string, error) {
	dir, base := split(name)
	d, err := t.walk(dir, create, 0)
	return d, base, err
}

// ensure makes a name that is missing.
func (t *tree) ensure(name string, ino *inode) error {
	d, base, err := t.above(name, true)
	if err != nil {
		return err
	}
	if old := d.children[base]; old == nil || (ino.is(typeDir) && !old.ino.is(typeDir) && !old.ino.is(typeLink)) {
		_, err = t.put(d, base, ino, 0)
	}
	return err
}

// replace makes a name, whatever was there.
func (t *tree) replace(name string, ino *inode) error {
	d, base, err := t.above(name, true)
	if err != nil {
		return err
	}
	delete(d.children, base)
	_, err = t.put(d, base, ino, 0)
	return err
}
