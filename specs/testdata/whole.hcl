# Every block and every argument of the language.
variable "size" {
  default = 6
}
variable "token" {
  default   = "hunter2"
  sensitive = true
}
locals {
  count  = local.base + 1
  base   = var.size - 1
  labels = { "lkv.role" = upper("worker") }
}

vcenter "main" {
  url        = env("VCENTER_URL")
  password   = secret_file("secret.txt")
  thumbprint = "AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:ab:cd:ef:01"
}
vcenter "other" {
  url      = "vc2.example.net"
  username = "lkv"
  password = var.token
  insecure = true
}

registry "ghcr.io/acme/*" {
  mirrors     = ["mirror.example.net:5000/ghcr", "localhost:5001"]
  insecure    = ["mirror.example.net:5000"]
  cosign_keys = ["keys/cosign.pub"]
}
registry "docker.io/*" {
  mirrors = ["hub.example.net"]
}

image "worker" {
  linuxkit = ["base.yml", "worker.yml"]
  arch     = "amd64"
  boot     = ["bios", "uefi"]
  rootfs   = "squashfs"
  compress = "best"
  efi      = "uki"
  fetch    = true
  secure_boot {
    key         = "db.key"
    certificate = "db.pem"
  }
  persist "/var/lib/docker" {
    label      = "docker"
    filesystem = "xfs"
    via        = "linuxkit"
  }
  persist "/srv/data" {
    uuid = "6000C291-0000"
  }
}

store "dc1" {
  vcenter    = "main"
  datacenter = "DC1"
  datastore  = "iso-nfs"
  folder     = "/isos/lkv/"
}
store "dc2" {
  vcenter    = "other"
  datacenter = "DC2"
  datastore  = "iso"
  transport  = "host"
}
store "lib" {
  vcenter = "main"
  library = "isos"
}
store "ghcr" {
  registry = "ghcr.io/acme/isos/"
}

fleet "workers" {
  image   = "worker"
  channel = "stable"
  size    = local.count
  name    = "wrk-%02d"
  placement {
    vcenter    = "main"
    datacenter = "DC1"
    cluster    = "C1"
    datastore  = "vm-*"
    folder     = "lkv/workers"
    spread     = "host"
  }
  placement {
    vcenter       = "other"
    datacenter    = "DC2"
    resource_pool = "C2/Resources"
    datastore     = "vm"
  }
  vm {
    cpus     = 4
    memory   = "8GiB"
    firmware = "uefi"
    secure_boot = true
    guest_id = "debian12_64Guest"
    network "VM Network" {
      type = "e1000e"
    }
    network "storage" {}
    guestinfo    = local.labels
    extra_config = { "disk.EnableUUID" = "TRUE" }
    annotation   = "workers"
  }
  disk "docker" {
    size         = "100GiB"
    mount        = "/var/lib/docker"
    datastore    = "ssd-*"
    provisioning = "thick"
  }
  drain {
    swarm {
      host        = "tcp://mgr:2376"
      cert_path   = "certs"
      deadline    = "5m"
      on_deadline = "continue"
    }
  }
  ready {
    tools   = false
    mounted = true
    tcp     = "2375"
    http    = "http://{ip}:8080/healthz"
    swarm   = true
    command = ["./check.sh", "-x"]
    settle  = "30s"
    timeout = "20m"
  }
  rollout {
    strategy          = "blue-green"
    disk              = "fresh"
    max_unavailable   = "25%"
    surge             = 2
    canaries          = 1
    bake              = "5m"
    order             = "ordinal"
    on_failure        = "rollback"
    max_failed        = 2
    grace             = "90s"
    progress_deadline = "30m"
    window {
      days = "Sat-Sun"
      from = "22:00"
      to   = "05:00"
      tz   = "Europe/Vienna"
    }
    retire_ttl = "24h"
  }
  scale_in {
    max = "10%"
  }
  max_age = "90d"
}

fleet "pets" {
  image  = "worker"
  digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  names  = ["db-a", "db-b"]
  placement {
    vcenter    = "main"
    datacenter = "DC1"
    host       = "esx1"
    datastore  = "vm"
  }
  drain {
    command = ["./drain.sh"]
  }
}

reconcile {
  interval  = "1m"
  suspend   = true
  claim_ttl = "3m"
  listen    = ":9180"
  webhook   = env("WEBHOOK")
}
