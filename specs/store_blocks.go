package specs

import (
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Store is one `store` block: where ISOs lie. Exactly one of Datastore, Library and Registry is set.
type Store struct {
	Pos        Pos
	Name       string
	VCenter    string // name of a vcenter block; empty: the connection from the environment. Not for a registry
	Datacenter string // name or inventory path; empty: the only one there is, or for a library every one. Not for a registry
	Datastore  string // name, inventory path, or datastore cluster
	Folder     string // top folder on the datastore; default "lkv". For a datastore only
	Transport  string // who takes uploads: "auto" (default), "vcenter" or "host". For a datastore only
	Library    string // name of a content library of the vCenter
	Registry   string // "host[:port][/path]"; an image's repository is this, a slash and the image's name
}

// StoreKind says what a store is.
type StoreKind string

// Kinds of stores. VMs boot from the first two; a registry is where ISOs are kept for others to fetch.
const (
	DatastoreStore StoreKind = "datastore"
	LibraryStore   StoreKind = "library"
	RegistryStore  StoreKind = "registry"
)

// Kind returns which of the three the store is.
func (s Store) Kind() StoreKind {
	switch {
	case s.Registry != "":
		return RegistryStore
	case s.Library != "":
		return LibraryStore
	}
	return DatastoreStore
}

// Repository returns the repository of an image in a registry store: "reg.example.net/lkv/worker". It is always the
// store's prefix and the image's name, however many images there are: adding one moves no other.
func (s Store) Repository(image string) string { return s.Registry + "/" + image }

// serves tells whether VMs of a placement can read the store. Nothing boots from a registry. A library belongs to its
// vCenter, so without datacenter it serves every one.
func (s Store) serves(p Placement) bool {
	if s.Kind() == RegistryStore || s.VCenter != p.VCenter {
		return false
	}
	return s.Datacenter == p.Datacenter || s.Kind() == LibraryStore && s.Datacenter == ""
}

// StoreFor returns the first store that VMs of a placement can read: the one of the same vCenter and datacenter, or a
// library of that vCenter. Never a registry.
func (s Spec) StoreFor(p Placement) (Store, bool) {
	i := slices.IndexFunc(s.Stores, func(st Store) bool { return st.serves(p) })
	if i < 0 {
		return Store{}, false
	}
	return s.Stores[i], true
}

// RegistryStores returns the registry stores, in the order of the files.
func (s Spec) RegistryStores() []Store {
	return slices.DeleteFunc(slices.Clone(s.Stores), func(st Store) bool { return st.Kind() != RegistryStore })
}

var storeGrammar = grammar{args: map[string]string{
	"vcenter": `"main"`, "datacenter": `"DC1"`, "datastore": `"iso-nfs"`, "folder": `"lkv"`, "transport": `"auto"`,
	"library": `"isos"`, "registry": `"reg.example.net/lkv"`,
}}

// storeKinds are the arguments of which a store has exactly one, with what cannot stand beside each.
var storeKinds = []struct {
	arg     string
	never   []string
	because string
}{
	{"datastore", nil, ""},
	{"library", []string{"folder", "transport"}, "vCenter places the files of a library by itself"},
	{"registry", []string{"vcenter", "datacenter", "folder", "transport"}, "a registry is no part of a vCenter"},
}

func (l *loader) store(b *hcl.Block) Store {
	before := len(l.diags)
	defer l.watch(before)
	s := l.open(b, storeGrammar)
	st := Store{Pos: posOf(b.DefRange), Name: l.name(b, "")}
	s.text("vcenter", &st.VCenter)
	s.text("datacenter", &st.Datacenter)
	s.text("datastore", &st.Datastore)
	s.text("library", &st.Library)
	s.text("registry", &st.Registry)
	kind := s.storeKind()
	if kind == "datastore" {
		st.Folder, st.Transport = "lkv", "auto"
		s.folder(&st)
	}
	if kind != "" && len(l.diags) == before && st.Datastore+st.Library+st.Registry == "" {
		s.bad(kind, "%s is empty: write %s = %s", kind, kind, storeGrammar.args[kind])
	}
	s.repository(&st)
	l.at["store.vcenter "+st.Name] = s.rangeOf("vcenter")
	l.at["store.registry "+st.Name] = s.rangeOf("registry")
	return st
}

// storeKind returns which kind of store is written, and reports none, several, and what contradicts it.
func (s *scope) storeKind() string {
	var kinds []string
	for _, k := range storeKinds {
		if s.has(k.arg) {
			kinds = append(kinds, k.arg)
		}
	}
	switch {
	case len(kinds) == 0:
		s.l.fail(s.at, "Missing argument", "%s needs one of datastore, library and registry: write datastore = %s", s.what, storeGrammar.args["datastore"])
		return ""
	case len(kinds) > 1:
		s.bad(kinds[1], "A store is one place: write %s, or leave %s out, and give the other a store block of its own.", kinds[1], kinds[0])
		return ""
	}
	for _, k := range storeKinds {
		for _, arg := range k.never {
			if k.arg == kinds[0] && s.has(arg) {
				s.bad(arg, "%s and %s contradict each other, since %s: leave %s out.", k.arg, arg, k.because, arg)
			}
		}
	}
	return kinds[0]
}

func (s *scope) folder(st *Store) {
	s.text("folder", &st.Folder)
	s.choice("transport", &st.Transport, "auto", "vcenter", "host")
	st.Folder = strings.Trim(st.Folder, "/")
	if st.Folder == "" || strings.Contains(st.Folder, "..") || strings.HasPrefix(st.Folder, "[") {
		s.bad("folder", "folder is a path on the datastore, without the datastore's name: write folder = \"lkv\"")
	}
}

// repository checks what comes before the image's name.
func (s *scope) repository(st *Store) {
	if st.Registry == "" {
		return
	}
	st.Registry = strings.TrimSuffix(st.Registry, "/")
	host, path, deep := strings.Cut(st.Registry, "/")
	switch {
	case !registryHost(host) || deep && !mirrorPath.MatchString(path):
		s.bad("registry", "%q is no place in a registry: write the host, with a port where it is needed, and a path in lower case, without https:// and without a tag, for example %s; the image's name is appended.", st.Registry, storeGrammar.args["registry"])
	case host == "docker.io" && !deep:
		s.bad("registry", "Docker Hub has no repositories outside a name space: write registry = \"docker.io/NAME\"")
	case st.Registry == "docker.io/lkv":
		s.bad("registry", "docker.io/lkv/ means lkv's own components: write another name.")
	}
}

// componentRule is what the last part of a repository looks like.
var componentRule = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$`)

// registryStores checks images against registry stores, and that what may be fetched can be.
func (l *loader) registryStores(s *Spec) {
	list := s.RegistryStores()
	for i, st := range list {
		at := l.at["store.registry "+st.Name]
		for _, first := range list[:i] {
			if first.Registry == st.Registry {
				l.fail(at, "One place under two names", "Stores %q and %q are the same place: remove one of them.", first.Name, st.Name)
				break
			}
		}
	}
	for _, img := range s.Images {
		if len(list) > 0 && nameRule.MatchString(img.Name) && !componentRule.MatchString(img.Name) {
			l.fail(l.at["image "+img.Name], "Image that has no repository", "Store %q is a registry, where no repository can end in %q: rename the image, with single '.' and '_' between letters and digits.", list[0].Name, img.Name)
		}
		if img.Fetch && len(list) != 1 {
			l.fail(l.at["image.fetch "+img.Name], "Unusable value for fetch", "Image %q is to be fetched, and the spec has %d registry stores: have exactly one, store \"…\" { registry = %s }", img.Name, len(list), storeGrammar.args["registry"])
		}
	}
}
