image "worker" {
  linuxkit = ["worker.yml"]
}
store "dc1" {
  datacenter = "DC1"
  datastore  = "iso"
}
fleet "workers" {
  image = "worker"
  size  = 2
  name  = "wrk-%02d"
  placement {
    datacenter = "DC2"
    datastore  = "vm"
  }
}
