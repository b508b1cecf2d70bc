package push

import (
	"strings"
	"testing"
)

// Only what lkv push writes has a content name: nothing else is ever removed.
func TestContentNames(t *testing.T) {
	digest := strings.Repeat("0a", 32)
	for _, ending := range endings {
		if d, e, ok := contentName(digest + ending); !ok || d != digest || e != ending {
			t.Errorf("%s: %q %q %v", ending, d, e, ok)
		}
		for _, name := range []string{
			strings.ToUpper(digest) + ending, digest[1:] + ending, digest + "0" + ending, "x" + ending, ending, digest + ending + ".bak",
			digest + ending + partMark + "01234567-89", digest + ".x" + ending, "dir/" + digest + ending,
		} {
			if _, _, ok := contentName(name); ok {
				t.Errorf("%s counts as ours", name)
			}
		}
	}
	for _, name := range []string{"", digest, digest + ".", digest + ".vmdk", digest + "-flat.vmdk", digest + ".iso.iso"} {
		if _, _, ok := contentName(name); ok {
			t.Errorf("%s counts as ours", name)
		}
	}
}

// The endings are removed in this order: the ISO first, its manifest last.
func TestEndingsOrder(t *testing.T) {
	if endings[0] != isoEnding || endings[len(endings)-1] != manifestEnding {
		t.Errorf("%v", endings)
	}
	for kind, ending := range kinds {
		if _, _, ok := contentName(strings.Repeat("0", 64) + ending); !ok {
			t.Errorf("files of kind %s could not be removed", kind)
		}
	}
}
