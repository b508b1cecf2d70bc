registry "ghcr.io/Acme/*" {
  mirrors = ["https://mirror.example.net"]
}
registry "redis" {
  insecure = ["mirror.example.net/path"]
}
registry "docker.io/redis" {
  cosign_keys = []
}
registry "index.docker.io/library/*" {
  cosign_keys = ["a.pub"]
}
registry "ghcr.io/acme/app:1" {
  cosign_key = "a.pub"
}
registry "quay.io/*" {
}
registry "quay.io/x" {
  mirrors = ["localmirror/x"]
}
registry "quay.io/x" {
  mirrors = ["mirror.example.net"]
}
registry "quay.io/y" {
  cosign_keys = null
}
