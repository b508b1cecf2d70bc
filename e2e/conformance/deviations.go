package conformance

// Deviation is a difference on purpose. match decides from the two root file systems, never from a list of paths.
type Deviation struct {
	ID    string
	What  string // what differs
	Why   string // why lkv is right, or why it does not matter
	Ref   string // where to read on
	match func(Diff, Pair) bool
}

// Deviations are all differences there may be between lkv's root file system and LinuxKit's. The first that
// matches explains a difference. One that no test case shows fails the test: it is stale.
var Deviations = []Deviation{
	{"identity", "`/etc/lkv/image.json` and `/.lkv` are there.",
		"They say which image runs, and that the initrd was unpacked to its end: LinuxKit boots half a system when memory runs out.", "linuxkit/linuxkit#2713", identity},
	{"boot-directory", "The empty directory `/boot` is not there.",
		"It is what remains of LinuxKit's tar when kernel and command line are taken out of it.", "LinuxKit initrd/initrd.go", bootDirectory},
	{"oci-version", "`ociVersion` in config.json is that of a newer runtime specification.",
		"Both are written by LinuxKit's own code, compiled with different versions of the same package; nothing else in the file differs.", "opencontainers/runtime-spec", ociVersion},
	{"own-whiteout", "A name a layer removes and makes again is there.",
		"A whiteout hides lower layers only. LinuxKit drops what the same layer puts there: the new file or directory is missing.", "OCI image specification, layer.md, Whiteouts", ownWhiteout},
	{"opaque-whiteout", "What an opaque whiteout hides is gone.",
		"LinuxKit ignores opaque whiteouts: files that `rm -rf d && mkdir d` removed come back.", "OCI image specification, layer.md, Opaque Whiteout; google/go-containerregistry#2372", opaque},
	{"missing-parents", "Files whose directories no layer describes are there.",
		"The kernel leaves out an entry whose directory does not exist, without a word. lkv makes the directory (0755, root).", "kernel, init/initramfs.c", missingParents},
	{"order", "Files of an upper layer whose directory comes from a lower one are there.",
		"LinuxKit writes upper layers first, so the file comes before its directory and the kernel leaves it out. lkv writes directories first and follows symbolic links as the image does.", "kernel, init/initramfs.c", order},
	{"link-before-target", "What an init image puts below a link of an earlier one lies where the link points.",
		"An init image with `/lib -> usr/lib` and a kernel with `/lib/modules`: LinuxKit's tar replaces the link with a directory, and every program that needs the link's other files breaks.", "linuxkit/linuxkit#3153", throughLink},
	{"hard-links", "Hard links are hard links.",
		"LinuxKit turns them into symbolic links. Programs that are started by their own name, mounts and overlays see the difference, and a link to a file that an upper layer replaces shows the wrong content.", "linuxkit/linuxkit#1458", hardLinks},
	{"duplicates", "Of a name that comes twice in a layer the last one counts.",
		"That is what unpacking a tar means, and what Docker does. LinuxKit takes the first.", "POSIX pax", duplicates},
	{"standard-directories", "`/etc`, `/dev`, `/proc` and `/sys` keep mode and owner of the image.",
		"LinuxKit means to keep them too, but compares `etc/` with `etc` and makes them 0755, root.", "LinuxKit moby/build/image.go", standardDirectories},
	{"files-parents", "A `files:` entry leaves a directory that exists alone.",
		"LinuxKit gives every directory above the file the file's mode and owner: one file with the default mode 0600 makes `/etc` 0700, and nobody but root can read `/etc/passwd`.", "LinuxKit docs/yaml.md, files", filesParents},
	{"metadata-references", "`metadata:` files show references as written.",
		"LinuxKit writes them expanded, which turns `ghcr.io/x` into `docker.io/ghcr.io/x`.", "LinuxKit util/reference.go", metadataReferences},
	{"same-digest", "Two references with one digest are unpacked once.",
		"LinuxKit compares references, lkv images. The second container's overlay uses the first one's files.", "LinuxKit moby/build/image.go", sameDigest},
	{"apk-blank-lines", "The joined Alpine package list has no double blank lines.",
		"Same packages; a blank line ends an entry, more mean nothing.", "LinuxKit moby/apk_tarwriter.go", apkBlankLines},
	{"image-user", "A container runs as its image's USER unless YAML or label say otherwise.",
		"LinuxKit ignores USER, so a container built to run without privileges runs as root.", "OCI image specification, config.md, User", imageUser},
	{"persist-ids", "A persist block does not shift the numbers of named users.",
		"LinuxKit numbers containers in order, so a new onboot step changes who owns the files on existing disks.", "docs/guest.md", persistIDs},
	{"persist-mount-point", "The directory a persist block mounts on is there.",
		"A mount needs it.", "docs/guest.md", persistMountPoint},
	{"time-of-build", "What the builder makes itself carries the time of the newest image, or SOURCE_DATE_EPOCH.",
		"LinuxKit uses 2017-04-18 16:30. Both are reproducible.", "reproducible-builds.org, SOURCE_DATE_EPOCH", timeOfBuild},
	{"time-clamped", "No file is younger than its image.",
		"Time stamps of a layer built a minute later would make another image. LinuxKit passes them on.", "reproducible-builds.org, SOURCE_DATE_EPOCH", timeClamped},
}
