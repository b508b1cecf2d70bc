package squashfs

import (
	"fmt"
)

// openXAttrs finds the attributes: the table's header says where names and values begin and how many sets there are.
func (q *Reader) openXAttrs() error {
	if q.s.XAttrTable == noTable {
		return nil
	}
	if q.s.XAttrTable > q.s.BytesUsed-16 {
		return fmt.Errorf("table at %d of %d bytes", q.s.XAttrTable, q.s.BytesUsed)
	}
	var b [16]byte
	if _, err := q.r.ReadAt(b[:], int64(q.s.XAttrTable)); err != nil {
		return err
	}
	q.xattrs = table{q: q, start: int64(min(le.Uint64(b[:]), q.s.BytesUsed)), end: int64(q.s.BytesUsed)}
	q.xattrSets = le.Uint32(b[8:])
	return nil
}

// readXAttrs returns a set of attributes, nil for none.
func (q *Reader) readXAttrs(i uint32) (map[string]string, error) {
	if i == none {
		return nil, nil
	}
	if i >= q.xattrSets {
		return nil, fmt.Errorf("attribute set %d of %d", i, q.xattrSets)
	}
	b, err := q.lookup(q.s.XAttrTable+16, i, xattrIDSize)
	if err != nil {
		return nil, err
	}
	c, count := q.xattrs.cursor(le.Uint64(b)), le.Uint32(b[8:])
	out := map[string]string{}
	size := 0
	for range count {
		name, value, err := q.xattr(&c)
		if err != nil {
			return nil, err
		}
		if _, ok := out[name]; ok {
			return nil, fmt.Errorf("attribute %q twice", name)
		}
		out[name] = value
		if size += len(name) + len(value); size > maxXAttrs {
			return nil, fmt.Errorf("more than %d bytes of attributes", maxXAttrs)
		}
	}
	return out, nil
}

// xattr reads one name and its value, which may lie elsewhere.
func (q *Reader) xattr(c *cursor) (name, value string, err error) {
	f, err := c.fields("22")
	if err != nil {
		return "", "", err
	}
	const elsewhere = 0x100
	prefix := f[0] &^ elsewhere
	if prefix >= uint64(len(xattrPrefixes)) || f[1] == 0 || f[1] > maxXAttrName {
		return "", "", fmt.Errorf("attribute of type %#x with a name of %d bytes", f[0], f[1])
	}
	b := make([]byte, f[1])
	if err := c.read(b); err != nil {
		return "", "", err
	}
	name = xattrPrefixes[prefix] + string(b)
	if f[0]&elsewhere == 0 {
		value, err = xattrValue(c)
		return name, value, err
	}
	if f, err = c.fields("48"); err != nil {
		return "", "", err
	}
	there := q.xattrs.cursor(f[1])
	value, err = xattrValue(&there)
	return name, value, err
}

func xattrValue(c *cursor) (string, error) {
	f, err := c.fields("4")
	if err != nil {
		return "", err
	}
	if f[0] > maxXAttr {
		return "", fmt.Errorf("attribute of %d bytes: at most %d", f[0], maxXAttr)
	}
	b := make([]byte, f[0])
	err = c.read(b)
	return string(b), err
}
