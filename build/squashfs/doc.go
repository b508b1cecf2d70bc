// Package squashfs writes squashfs 4.0 images, compressed with zstd on all cores, and reads them back.
//
// It works in two halves, so that a build compresses only what changed. A Packer compresses the contents of one
// component's files into a pack, which the caller keeps together with its description, a Pack. Plan takes all
// names of an image with the descriptions of the packs and makes the tables; the Image then copies the packs byte
// for byte between its superblock and its tables.
//
//	superblock       96 bytes
//	packs            blocks and fragments, each compressed by itself, byte after byte
//	inode table      metadata blocks of 8 KiB, children before their directory
//	directory table  listings in the same order
//	fragment table   where the packs' fragments are
//	export table     inode by number: overlayfs needs it to keep hard links when it copies a file up
//	owners           user and group numbers
//	attributes       user.*, trusted.* and security.*, each set once; left out when there are none
//	padding          zeros up to 4 KiB
//
// The same entries and contents give the same bytes, whatever the number of workers and the order of the entries.
//
// Not supported in writing: directory indexes (the kernel reads half a directory's listing to find a name in
// it: 7 ms with 40 000 names), other compressors than zstd, compressor options, equal contents stored once (hard links are), ACLs, times before
// 1970 and after 2106 (the nearest is taken). In reading: other compressors, versions before 4.0, more than four
// million names. The reader is stricter than the kernel: names in order, blocks of exactly the length that the
// size of the file wants, parents that are who they say they are.
//
// Mounted by the kernel (6.18, by hand), read by unsquashfs and by this package; unsquashfs 4.5.1 shows and extracts device numbers beyond
// 255 wrongly, the kernel does not.
package squashfs
