image "host" {
  linuxkit = ["host.yml"]
  rootfs   = "squashfs"
  persist "/var/lib/docker" {
    label = "docker"
  }
}

store "dc1" {
  datacenter = "DC1"
  datastore  = "iso-nfs"
  folder     = "lkv"
}

store "dc2" {
  datacenter = "DC2"
  datastore  = "iso-nfs"
  folder     = "lkv"
}

fleet "docker" {
  image = "host"
  size  = 2
  name  = "host-%02d"

  placement {
    datacenter = "DC1"
    cluster    = "C1"
    datastore  = "vm-*"
  }
  placement {
    datacenter = "DC2"
    cluster    = "C1"
    datastore  = "vm-*"
  }
  vm {
    cpus   = 1
    memory = "2GiB"
    network "VM Network" {
      type = "vmxnet3"
    }
  }
  disk "docker" {
    size  = "4GiB"
    mount = "/var/lib/docker"
  }
  ready {
    tools   = true
    mounted = true
    settle  = "5s"
    timeout = "10m"
  }
  rollout {
    strategy        = "in-place"
    max_unavailable = 1
  }
}
