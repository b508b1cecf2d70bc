image "worker" {
  linuxkit = ["worker.yml"]
  persist "/data" {}
  persist "/data" {
    label = "data2"
  }
  persist "/srv/data" {}
  persist "data/" {
    label = "a label that is too long"
  }
}
image "worker" {
  linuxkit = []
}
image "Wörker" {
  linuxkit = [""]
}
store "s" {
  datastore = "iso"
}
fleet "a" {
  image = "worker"
  size  = 2
  name  = "wrk-%02d"
  placement {
    datastore = "vm"
  }
}
fleet "b" {
  image = "worker"
  size  = 5
  name  = "wrk-%02d"
  placement {
    datastore = "vm"
  }
}
fleet "c" {
  image = "worker"
  names = ["wrk-01", "x_y", "x_y"]
  placement {
    datastore = "vm"
  }
}
fleet "d" {
  image = "worker"
  size  = 3
  name  = "wrk"
  placement {
    datastore = "vm"
  }
}
fleet "e" {
  image = "worker"
  size  = 3
  names = ["e"]
  placement {
    datastore = "vm"
  }
}
fleet "f" {
  image = "worker"
}
