image "worker" {
  linuxkit = ["worker.yml"]
  persist "/var/lib/docker" {}
}
store "dc1" {
  datastore = "iso"
}
fleet "workers" {
  image = "worker"
  size  = 2
  name  = "wrk-%02d"
  placement {
    datastore = "vm-*"
  }
  vm {
    cpus   = "many"
    memory = 8
  }
  disk "docker" {
    size  = "100"
    mount = "/var/lib/docker"
  }
  ready {
    settle  = "30"
    timeout = "ten minutes"
    tcp     = "http"
  }
  rollout {
    max_unavailable = "25"
    surge           = "-1"
    bake            = "5 min"
    window {
      days = "Sat-Sunday"
      from = "25:00"
      to   = "05:00"
      tz   = "Vienna"
    }
  }
}
