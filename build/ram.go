package build

import "github.com/lkv-io/lkv/internal/manifest"

// Memory needs, bytes. Measured by bisection with Debian's 6.12 kernel under QEMU: the rule 2*unpacked + initrd +
// 64 MiB is between 1 and 1.1 times the smallest memory that boots whole. A squashfs on a CD is mounted with less
// than persist and its file system check then need, hence its larger reserve.
const (
	bootReserve   = 64 << 20  // kernel and boot beside the initrd
	cdReserve     = 96 << 20  // the same, and the first steps from a CD
	leastMemory   = 128 << 20 // below 85 MiB the kernel itself does not start, and says nothing
	kernelReserve = 64 << 20  // what of a VM's memory is not in MemTotal, and a margin: 52 MiB of 104 MiB
)

// memory is the need of a boot that unpacks so much from such an initrd: while the initrd is still loaded, the kernel
// gives the root tmpfs half of what is left.
func memory(unpacked, initrd, reserve int64) manifest.RAM {
	return manifest.RAM{Unpacked: unpacked, Initrd: initrd, Minimum: max(leastMemory, 2*unpacked+initrd+reserve)}
}
