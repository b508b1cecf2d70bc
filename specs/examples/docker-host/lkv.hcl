# Docker hosts whose /var/lib/docker outlives every new image, in two datacenters.
#
#   export LKV_VCENTER_URL=https://vcenter.example.net LKV_VCENTER_USERNAME=… LKV_VCENTER_PASSWORD_FILE=…
#   lkv lock && lkv build && lkv push && lkv plan && lkv reconcile

variable "size" {
  default     = 2
  description = "How many Docker hosts"
}

variable "memory" {
  default = "2GiB"
}

variable "disk" {
  default = "20GiB"
}

image "docker-host" {
  linuxkit = ["docker-host.yml"]
  rootfs   = "squashfs" # recommended on vSphere: half the memory of an initrd, and the CD is not in use once it runs

  # Found by its label, checked, grown and mounted before any service starts. Without it no service starts.
  persist "/var/lib/docker" {
    label = "docker"
  }
}

store "dc1" {
  datacenter = "DC1"
  datastore  = "iso-nfs"
}

store "dc2" {
  datacenter = "DC2"
  datastore  = "iso-nfs"
}

fleet "docker" {
  image = "docker-host"
  size  = var.size
  name  = "docker-%02d"

  # VMs are spread over the placements.
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
    cpus   = 2
    memory = var.memory
    network "VM Network" {}
  }

  disk "docker" {
    size  = var.disk
    mount = "/var/lib/docker"
  }

  ready {
    settle  = "10s"
    timeout = "10m"
  }
}
