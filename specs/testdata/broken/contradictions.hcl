vcenter "main" {
  url      = "ftp://vc"
  insecure = true
  ca_file  = "ca.pem"
}
image "worker" {
  linuxkit = ["worker.yml"]
  boot     = ["uefi"]
  rootfs   = "nfs"
  persist "/data" {
    label = "data"
    uuid  = "6000c291"
  }
}
store "s" {
  datastore = "iso"
  folder    = "../x"
  transport = "ssh"
}
fleet "a" {
  image   = "worker"
  channel = "stable"
  digest  = "sha256:abc"
  size    = 2
  name    = "wrk-%02d"
  placement {
    cluster   = "C1"
    host      = "esx1"
    datastore = "vm"
  }
  vm {
    firmware = "bios"
    memory   = "3MiB"
    guestinfo = {
      "lkv.token"      = "x"
      "guestinfo.role" = "x"
    }
    extra_config = {
      "lkv.owner" = "me"
    }
  }
  vm {
  }
  drain {
  }
  rollout {
    max_unavailable = 0
    disk            = "fresh"
  }
}
reconcile {
  claim_ttl = "1s"
}
