// Package images turns OCI references into images: from a cache in an OCI layout directory first, from a
// registry second, pinned to digests by a lock file when there is one. It needs no container daemon.
//
// Not supported: schema 1 images, foreign (non-distributable) layers, and layers encrypted by their registry.
package images
