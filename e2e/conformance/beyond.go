package conformance

// Beyond lists images with which LinuxKit's builder fails or makes something broken, so that there is nothing to
// compare. Each has a test of that name that shows both behaviours.
var Beyond = []struct{ ID, What, LinuxKit, LKV string }{
	{"big-file", "a file of 4 GiB or more in an initrd", "writes nine digits into a field of eight: the kernel reads garbage from there on", "refuses it and names image and layer"},
	{"old-file", "a file from before 1970", "writes a minus sign into the header: the kernel reads garbage from there on", "shows 1970"},
	{"other-registry", "a reference like `ghcr.io/x:1` or `localhost:5000/x:1`", "looks for `docker.io/ghcr.io/x:1`", "finds it"},
	{"zstd-layer", "a layer compressed with zstd, or not at all", "leaves the container empty without a word when the layer is zstd", "reads it"},
	{"damaged-blob", "a layer in the cache whose bytes are not those of its digest", "builds from them without a word", "refuses them"},
	{"absolute-parent", "names that leave the image (`../x`)", "writes them into the initrd as they are", "refuses them and names image and layer"},
}
