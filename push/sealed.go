package push

// Sealed is a Store that cannot read back what has a temporary name, such as a content library, whose uploads are
// not part of anything before they are complete. It must make sure of size and digest itself before Move succeeds;
// what was moved is read back from its final name, as far as asked for.
type Sealed interface {
	SealsTemporary() bool
}

func sealed(s patient) bool {
	x, ok := s.Store.(Sealed)
	return ok && x.SealsTemporary()
}

// Keeper is a Store that may know why nothing is to be removed from it, for example because others read it whose VMs
// it cannot see.
type Keeper interface {
	// Keeps says why; empty: what nothing names may be removed.
	Keeps() string
}

func keeps(s Store) string {
	if k, ok := s.(Keeper); ok {
		return k.Keeps()
	}
	return ""
}
