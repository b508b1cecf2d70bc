package squashfs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// xattrPrefixes are the name spaces of the format; their index is their number.
var xattrPrefixes = [...]string{"user.", "trusted.", "security."}

func splitXAttr(name string) (prefix uint16, rest string, ok bool) {
	for i, p := range xattrPrefixes {
		if rest, ok := strings.CutPrefix(name, p); ok && rest != "" {
			return uint16(i), rest, true
		}
	}
	return 0, "", false
}

// xattrTable holds each set of attributes once.
type xattrTable struct {
	kv    metaWriter
	ids   []byte // the lookup table
	index map[string]uint32
}

// add gives the inode the index of its set.
func (t *xattrTable) add(i *inode) error {
	if len(i.XAttrs) == 0 {
		return nil
	}
	var set []byte
	size := 0
	for _, name := range slices.Sorted(maps.Keys(i.XAttrs)) {
		value := i.XAttrs[name]
		prefix, rest, ok := splitXAttr(name)
		if !ok {
			return fmt.Errorf("extended attribute %q: the format knows user.*, trusted.* and security.* only", name)
		}
		if len(name) > maxXAttrName || len(value) > maxXAttr || strings.ContainsRune(name, 0) {
			return fmt.Errorf("extended attribute %.60q: name of %d, value of %d bytes: Linux has at most %d and %d", name, len(name), len(value), maxXAttrName, maxXAttr)
		}
		set = put(set, prefix, uint16(len(rest)))
		set = append(set, rest...)
		set = put(set, uint32(len(value)))
		set = append(set, value...)
		size += len(name) + 1 // what listing the names takes
	}
	if len(set) > maxXAttrs || size > maxXAttr {
		return fmt.Errorf("extended attributes of %d bytes, names of %d: at most %d and %d", len(set), size, maxXAttrs, maxXAttr)
	}
	n, ok := t.index[string(set)]
	if !ok {
		if t.index == nil {
			t.index = map[string]uint32{}
		}
		n = uint32(len(t.index))
		t.index[string(set)] = n
		t.ids = put(t.ids, t.kv.write(set), uint32(len(i.XAttrs)), uint32(len(set)))
	}
	i.xattr = n
	return nil
}

// idTable holds each user and group number once.
type idTable struct {
	list  []uint32
	index map[uint32]uint16
}

func (t *idTable) add(id uint32) {
	if _, ok := t.index[id]; ok {
		return
	}
	if t.index == nil {
		t.index = map[uint32]uint16{}
	}
	t.index[id] = uint16(len(t.list))
	t.list = append(t.list, id)
}
