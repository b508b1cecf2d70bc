variable "size" { default = 2 }
variable "strategy" { default = "in-place" }
variable "disk" { default = "hand-over" }
variable "gib" { default = 1 }

image "host" {
  linuxkit = ["vm.yml"]
  rootfs   = "squashfs"
  boot     = ["bios"]
  compress = "fastest"
  persist "/var/lib/docker" {
    label = "docker"
  }
}

store "dc1" {
  datacenter = "DC1"
  datastore  = "iso-nfs"
  folder     = "lkv"
}

fleet "hosts" {
  image = "host"
  size  = var.size
  name  = "host-%02d"

  placement {
    datacenter = "DC1"
    cluster    = "C1"
    datastore  = "vm-1"
  }
  vm {
    cpus   = 1
    memory = "1GiB"
    network "VM Network" {
      type = "vmxnet3"
    }
  }
  disk "docker" {
    size  = "${var.gib}GiB"
    mount = "/var/lib/docker"
  }
  drain {
    command = ["./hook.sh"]
  }
  ready {
    tools   = true
    mounted = true
    settle  = "1s"
    timeout = "5m"
  }
  rollout {
    strategy        = var.strategy
    disk            = var.strategy == "blue-green" ? var.disk : null
    max_unavailable = 1
    on_failure      = "rollback"
    grace           = "15s"
  }
  scale_in {
    max = "50%"
  }
}

# A claim of a run that died lives for claim_ttl and grace.
reconcile {
  claim_ttl = "30s"
}
