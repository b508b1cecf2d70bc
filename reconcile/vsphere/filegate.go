package vsphere

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/vmware/govmomi/vim25/types"
)

// own notes the folder of a store, "[datastore] folder".
func (g *gate) own(dc types.ManagedObjectReference, root string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.roots[dc.Value+root] = true
}

// image tells whether a datastore path is that of an ISO of a store, or of a file that belongs to one.
func (g *gate) image(dc *types.ManagedObjectReference, p string) bool {
	dir, name := path.Split(p)
	root, image := path.Split(strings.TrimSuffix(dir, "/"))
	g.mu.Lock()
	defer g.mu.Unlock()
	return dc != nil && g.roots[dc.Value+strings.TrimSuffix(root, "/")] && finished(image+"/"+name)
}

// refuseCopy lets through only an ISO of a store, or a file that belongs to one, that gets a temporary name there or in
// another store, where nothing is overwritten.
func (g *gate) refuseCopy(r *types.CopyDatastoreFile_Task) string {
	switch {
	case !g.image(r.SourceDatacenter, r.SourceName):
		return fmt.Sprintf("%s is no ISO of a store", r.SourceName)
	case !temporary(r.DestinationName) || !g.image(r.DestinationDatacenter, part.ReplaceAllString(r.DestinationName, "")):
		return fmt.Sprintf("%s is no temporary name of lkv in a store", r.DestinationName)
	case r.Force == nil || *r.Force:
		return fmt.Sprintf("it would overwrite %s", r.DestinationName)
	}
	return ""
}

// refuseTicket lets through only tickets for uploads to temporary names.
func refuseTicket(s types.BaseSessionManagerServiceRequestSpec) string {
	h, ok := s.(*types.SessionManagerHttpServiceRequestSpec)
	if !ok || h.Method != string(types.SessionManagerHttpServiceRequestSpecMethodHttpPut) {
		return "it asks for something else than an upload"
	}
	if u, err := url.Parse(h.Url); err != nil || !strings.HasPrefix(u.Path, "/folder/") || !temporary(u.Path) {
		return fmt.Sprintf("%s is no temporary name of lkv", h.Url)
	}
	return ""
}

// part is what the name of an unfinished upload of package push ends with: who pushes, and a nonce. No disk's name
// can end so.
var part = regexp.MustCompile(`\.lkv-part-[0-9a-f]{8}-[0-9a-f]+$`)

func temporary(p string) bool { return part.MatchString(p) }

// final is a file of an image: named after the ISO's digest, and no file of a VM or disk.
var final = regexp.MustCompile(`^[^/\[\]]+/[0-9a-f]{64}\.[a-zA-Z0-9.-]+$`)

// finished tells whether a path below a store's folder is that of an ISO or of what describes one.
func finished(p string) bool {
	ext := path.Ext(p)
	return final.MatchString(p) && !temporary(p) && !strings.HasPrefix(p, ".") && !strings.HasPrefix(ext, ".vm") && ext != ".nvram" && ext != ".vswp"
}
