// Package examples holds specs that work as they stand. lkv init writes the one of DockerHost.
package examples

import "embed"

// FS holds every example in a directory of its own.
//
//go:embed docker-host minimal
var FS embed.FS

// DockerHost is the directory of the example that lkv init writes.
const DockerHost = "docker-host"
