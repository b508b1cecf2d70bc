//go:build e2e

package e2e

import (
	"context"
	"encoding/pem"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/lkv-io/lkv/internal/lab"
)

// TestLabKey: a VM of the lab whose NVRAM was made with an own certificate starts the ISO signed with it, and what
// Microsoft's certificates vouch for, too; without the certificate it starts only the latter.
func TestLabKey(t *testing.T) {
	b := newBench(t)
	signed := b.options(hostile)
	signed.EFI.Signer = snakeoil(t)
	own, shim := b.write(t, signed), b.write(t, b.grub(hostileGrub))
	raw, err := os.ReadFile(snakeoilCert)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(raw)
	const booted, refused = `LKV-E2E payload=`, `(?i)access denied|security violation`
	for _, c := range []struct {
		name, iso, says string
		db              [][]byte
	}{
		{"own key", own, booted, [][]byte{block.Bytes}},
		{"own key, another certificate", own, refused, [][]byte{[]byte("no certificate at all")}},
		{"shim beside a key", shim, booted, [][]byte{block.Bytes}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			m, err := lab.QEMU{}.Boot(ctx, lab.Boot{VM: "key", Dir: t.TempDir(), MemoryMiB: 512, CPUs: 1, Firmware: "efi", SecureBoot: true, DB: c.db, ISO: c.iso}, func(lab.Guest) {})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Kill()
			for says, off := regexp.MustCompile(c.says), false; ; {
				log, _ := os.ReadFile(m.Serial()) // it is not there at once
				if says.Match(log) {
					return
				}
				if off {
					t.Fatalf("it went off without saying %q:\n%s", c.says, log)
				}
				select {
				case <-ctx.Done():
					t.Fatalf("it does not say %q:\n%s", c.says, log)
				case <-m.Done():
					off = true // look once more: the last line may have come with the end
				case <-time.After(200 * time.Millisecond):
				}
			}
		})
	}
}
