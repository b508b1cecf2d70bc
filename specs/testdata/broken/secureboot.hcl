image "both" {
  linuxkit = ["worker.yml"]
  efi      = "grub"
  secure_boot {
    key = "db.key"
  }
}
image "unsigned" {
  linuxkit = ["worker.yml"]
  efi      = "systemd"
}
store "s" {
  datastore = "iso"
}
fleet "a" {
  image = "unsigned"
  size  = 1
  name  = "a-%02d"
  placement {
    cluster   = "C1"
    datastore = "vm"
  }
  vm {
    firmware    = "efi"
    secure_boot = true
    network "VM Network" {}
  }
}
fleet "b" {
  image = "unsigned"
  size  = 1
  name  = "b-%02d"
  placement {
    cluster   = "C1"
    datastore = "vm"
  }
  vm {
    secure_boot = true
    network "VM Network" {}
  }
}
