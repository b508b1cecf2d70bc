vcenter "main" {
  url      = "https://vc.example"
  username = "lkv"
}
image "worker" {
  linuxkit = ["worker.yml"]
  persist "/d0" {}
  persist "/d1" {}
  persist "/d2" {}
  persist "/d3" {}
}
fleet "web" {
  image = "worker"
  size  = 1
  name  = "web-%02d"
  placement {
    vcenter    = "main"
    datacenter = "dc"
    cluster    = "c"
    datastore  = "ds"
  }
  vm {
    cpus   = 1
    memory = "1GiB"
    extra_config = {
      "disk.EnableUUID"  = "TRUE"
      "disk.enableuuid"  = "FALSE"
      "disk.locking"     = "FALSE"
      "SCSI0:0.mode"     = "independent-nonpersistent"
      "snapshot.action"  = "autoRevert"
      "LKV.owner"        = "me"
      "sched.mem.pin"    = "TRUE"
    }
  }
  disk "flat" {
    size  = "1GiB"
    mount = "/d0"
  }
  disk "data-ctk" {
    size  = "1GiB"
    mount = "/d1"
  }
  disk "flat-data" {
    size  = "1GiB"
    mount = "/d2"
  }
  disk "docker-g1" {
    size  = "1GiB"
    mount = "/d3"
  }
}
