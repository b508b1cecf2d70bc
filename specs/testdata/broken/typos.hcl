image "worker" {
  linuxkit = ["worker.yml"]
  compres  = "best"
  presist "/var/lib/docker" {}
}
flet "workers" {
}
