vcenter "main" {
  url = "https://vc.example.net"
}
image "worker" {
  linuxkit = ["worker.yml"]
}
store "dc1" {
  vcenter    = "mian"
  datacenter = "DC1"
  datastore  = "iso"
}
fleet "workers" {
  image = "wroker"
  size  = 2
  name  = "wrk-%02d"
  placement {
    vcenter    = "other"
    datacenter = "DC1"
    datastore  = "vm"
  }
}
fleet "more" {
  image = "worker"
  names = ["pet-a"]
  placement {
    vcenter    = "main"
    datacenter = "DC1"
    datastore  = "vm"
  }
  disk "docker" {
    size  = "1GiB"
    mount = "/var/lib/docker"
  }
}
