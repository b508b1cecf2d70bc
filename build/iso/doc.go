// Package iso writes one ISO image that boots everywhere from one copy of kernel and initrd, and reads it back.
//
// The image is at the same time an ISO 9660 volume with Rock Ridge names, an El Torito CD for BIOS and UEFI, and
// a disk with an MBR and a GPT. Its extents are shared: the FAT image is both the El Torito EFI image and the
// GPT's EFI system partition; the one file in it is a unified kernel image; and the ISO 9660 files /boot/vmlinuz
// and /boot/initrd are that file's .linux and .initrd sections.
//
//	byte 0      MBR (isohybrid code), GPT header and entries
//	sector 16   volume descriptors, path tables, Rock Ridge continuations, directories, boot catalog
//	            isolinux.bin, isolinux.cfg, ldlinux.c32, extra files
//	1 MiB       FAT16 image: BPB, two FATs, root, /EFI, /EFI/BOOT, BOOTX64.EFI
//	              stub | .osrel | .cmdline | .uname | .initrd | .linux
//	end         backup GPT
//
// The initrd is streamed to its final place without its size being known beforehand; Close writes the kernel
// behind it and then every header. The same input gives the same bytes, however the initrd was cut into writes:
// dates come from Options.Epoch, identifiers from the content.
//
// With EFI.Signer the kernel image is signed for Secure Boot when its bytes are final: Close reads it back, hashes
// it as Authenticode asks and puts the signature at its end, the only thing behind .linux.
//
// With EFI.Grub the FAT image holds shim, GRUB and grub.cfg instead, 8 MiB, and the initrd and the kernel lie
// behind it in the ISO 9660 tree, where GRUB reads them: for firmware that dislikes a large EFI image, and for the
// Secure Boot keys that machines come with.
//
// Not supported: an initrd of 4 GiB and more, with a unified kernel image about 2 GiB of kernel and initrd together
// (FAT16, and firmware loads the whole file into memory; other files may be longer and then get several directory
// records), Joliet, machines other than x86-64.
//
// Booted with SeaBIOS and OVMF, from CD and from disk; not yet on VMware's firmware, where an EFI image beyond
// 32 MiB (whose El Torito size field is 0) is the open question. Re-mastering an image with another program
// keeps it correct but stores the shared extents several times.
package iso
