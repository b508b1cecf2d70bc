image "worker" {
  linuxkit = ["worker.yml"
}
